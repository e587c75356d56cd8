from ipaddress import ip_address

import pytest

from hawksnest.kernel.encoders import _PRIVATE, IpEncoder
from hawksnest.kernel.identity import IDENTITY_LIMIT, IDENTITY_TYPES, identity_value


@pytest.mark.parametrize(
    ("variable_type", "text", "wanted"),
    [
        ("IP_ADDRESS", " 192.0.2.1 ", "192.0.2.1"),
        ("IP_ADDRESS", "2001:DB8:0:0::1", "2001:db8::1"),
        ("IP_ADDRESS", "fe80::1%eth0", "fe80::1"),
        ("IP_ADDRESS", "::ffff:192.0.2.1", "192.0.2.1"),
        ("IP_ADDRESS", "82:24:61:42", "82:24:61:42"),
        ("IP_ADDRESS", "NOT an ip", "not an ip"),
        ("EMAIL_ADDRESS", "Ann@Example.COM", "ann@example.com"),
        ("PHONE_NUMBER", "+1 555-0100", "+15550100"),
        ("BILLING_PHONE", "(555) 0100", "5550100"),
        ("SHIPPING_PHONE", "none", None),
        ("CARD_BIN", "411111", "411111"),
        ("CARD_BIN", "4111 1111", "41111111"),
        ("CARD_BIN", "4111111111111111", "41111111"),
        ("CARD_BIN", "41111", None),
        ("FINGERPRINT", "AbC", "AbC"),
        ("BILLING_ADDRESS_L1", " 1  Main\tSTREET ", "1 main street"),
        ("SHIPPING_ADDRESS_L1", "Straße 1", "strasse 1"),
    ],
)
def test_spellings_of_one_identity_meet(variable_type: str, text: str, wanted: str | None) -> None:
    assert identity_value(variable_type, text) == wanted


@pytest.mark.parametrize("text", ["", "  ", "unknown", "UNKNOWN", "<unknown>", "<null>"])
def test_placeholder_is_no_identity_of_any_type(text: str) -> None:
    assert all(identity_value(variable_type, text) is None for variable_type in IDENTITY_TYPES)


def test_long_identity_is_shortened_and_stays_different() -> None:
    longest = "x" * IDENTITY_LIMIT
    assert identity_value("FINGERPRINT", longest) == longest
    first, second = (identity_value("FINGERPRINT", longest + end) for end in "ab")
    assert first is not None and second is not None
    assert first != second and len(first) == len(second) == IDENTITY_LIMIT


@pytest.mark.parametrize(
    "text",
    [
        *("0.0.0.0", "255.255.255.255", "198.51.100.7", "10.0.0.1", "172.15.9.9", "172.16.0.1", "172.31.1.2"),
        *("172.32.0.1", "100.63.1.1", "100.64.0.0", "100.127.3.3", "100.128.0.0", "169.254.1.1", "127.0.0.9"),
        *(
            "192.168.3.4",
            "192.169.0.0",
            "11.1.1.1",
            "1.2.3",
            "1.2.3.4.",
            "1.2.3.4.5",
            "01.2.3.4",
            "1.2.3.256",
        ),
        *(
            " 1.2.3.4",
            "1.2.3.4\n",
            "1..2.3",
            "1.2.3.4%eth0",
            "::ffff:10.0.0.1",
            "fe80::1",
            "2001:db8::1",
            "x",
        ),
    ],
)
def test_an_address_in_plain_form_is_what_the_standard_library_says_it_is(text: str) -> None:
    stripped = text.strip().partition("%")[0]
    try:
        address = ip_address(stripped)
    except ValueError:
        assert identity_value("IP_ADDRESS", text) == text.strip().lower()
        assert IpEncoder(((), ())).encode(text, 0)[6] == 0.0
        return
    address = getattr(address, "ipv4_mapped", None) or address
    assert identity_value("IP_ADDRESS", text) == str(address)
    private = any(address in network for network in _PRIVATE)
    encoded = IpEncoder(((), ())).encode(text, 0)
    assert encoded[6:] == (1.0, float(private), float(address.version))
    if address.version == 4:
        assert encoded[2:6] == tuple(map(float, address.packed))
