"""The mapping files under examples/ and the one in their README."""

import re
from pathlib import Path

import pytest

from hawksnest.stream.mapping import load_mapping
from hawksnest.stream.schema import members_of

EXAMPLES = Path(__file__).parents[3] / "examples"


def test_the_readme_names_every_example():
    named = set(re.findall(r"\]\((mappings/[^)]+)\)", (EXAMPLES / "README.md").read_text()))
    assert named == {f"mappings/{path.name}" for path in (EXAMPLES / "mappings").iterdir()}


@pytest.mark.parametrize("path", sorted((EXAMPLES / "mappings").iterdir()), ids=lambda path: path.name)
def test_an_example_loads_and_sends_neither_label_nor_what_it_omits(path: Path):
    mapping = load_mapping(path)
    kept_back = {mapping.layout.label, *mapping.layout.omit}
    assert mapping.layout.label
    assert kept_back.isdisjoint(column for _, column in mapping.variables)


def test_the_mapping_in_the_readme_works(tmp_path: Path):
    blocks = re.findall(r"```toml\n(.*?)```", (EXAMPLES / "README.md").read_text(), re.DOTALL)
    file = tmp_path / "shop.toml"
    file.write_text(blocks[0])
    record = (
        b'{"order":"o1","customer_no":7,"paid_at":"24.12.2025 18:30","total":12.10,"client_ip":"192.0.2.1"}'
    )
    prepared = load_mapping(file).prepare(members_of(record))
    assert prepared.request == {
        "detectorId": "shop_detector",
        "eventId": "o1",
        "eventTypeName": "shop_payment",
        "entities": [{"entityType": "customer", "entityId": "7"}],
        "eventTimestamp": "2025-12-24T18:30:00Z",
        "eventVariables": {"order_price": "12.10", "ip_address": "192.0.2.1", "sales_channel": "web"},
    }
