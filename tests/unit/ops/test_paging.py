"""Pages and their tokens, without a server."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawksnest.errors import ServiceError
from hawksnest.ops.paging import TOKEN_LIFE_MS, _parsed, page_token, token_mark

BOUND = ("111122223333", "us-east-1", "GetLabels", "{}")
NOW_MS = 1_700_000_000_000


@given(mark=st.text(), bound=st.tuples(st.text(), st.text()))
def test_a_token_gives_its_mark_back(mark, bound):
    assert token_mark(page_token(mark, bound, NOW_MS), bound, NOW_MS) == mark


@given(mark=st.text(), where=st.integers(min_value=0), other=st.integers(min_value=1, max_value=63))
def test_a_token_with_one_character_changed_is_refused(mark, where, other):
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    token = page_token(mark, BOUND, NOW_MS)
    place = where % (len(token) - 1)  # the last character may carry padding bits
    changed = alphabet[(alphabet.index(token[place]) + other) % 64]
    with pytest.raises(ServiceError):
        token_mark(token[:place] + changed + token[place + 1 :], BOUND, NOW_MS)


@given(st.text(min_size=1))
def test_any_other_text_is_refused(text):
    with pytest.raises(ServiceError) as refusal:
        token_mark(text, BOUND, NOW_MS)
    assert refusal.value.code == "ValidationException"


@given(st.binary(max_size=40))
def test_any_other_bytes_are_refused(raw):
    with pytest.raises(ServiceError):
        token_mark(base64.urlsafe_b64encode(raw).decode().rstrip("=") or "x", BOUND, NOW_MS)


@pytest.mark.parametrize("token", [None, ""])
def test_no_token_is_the_first_page(token):
    assert token_mark(token, BOUND, NOW_MS) == ""


def test_a_token_of_another_operation_account_or_filter_is_refused():
    token = page_token("m", BOUND, NOW_MS)
    for place in range(len(BOUND)):
        other = (*BOUND[:place], BOUND[place] + "x", *BOUND[place + 1 :])
        with pytest.raises(ServiceError):
            token_mark(token, other, NOW_MS)


def test_a_token_lives_24_hours():
    token = page_token("m", BOUND, NOW_MS)
    assert token_mark(token, BOUND, NOW_MS + TOKEN_LIFE_MS) == "m"
    with pytest.raises(ServiceError, match="24 hours"):
        token_mark(token, BOUND, NOW_MS + TOKEN_LIFE_MS + 1)


@pytest.mark.parametrize("mark", ["[" * 5_000, '["\\ud800"]', "[1e999]", "9" * 5_000, '[1, "a"]', "null"])
def test_a_forged_mark_of_another_form_is_refused(mark):
    with pytest.raises(ServiceError, match="nextToken"):
        _parsed(mark, ("a", 1))
