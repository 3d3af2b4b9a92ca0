"""Tokens of letters to who forgot a password: one deployment's, for one password, for an hour."""

import base64
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from care_collective.accounts import resets

KEY = "a secret key for tests, of 32 bytes"
USER = UUID("5d3a4a8e-3c4f-4a55-9d55-0b1d3a4f7a11")
SET_AT = datetime(2026, 11, 1, 12, 0, 0, 123456, tzinfo=UTC)
NOW = datetime(2026, 11, 22, 14, 0, tzinfo=UTC)
TOKEN = resets.reset_token(KEY, user_id=USER, set_at=SET_AT, now=NOW)


def holds(token: str, *, key: str = KEY, set_at: datetime = SET_AT, now: datetime = NOW) -> bool:
    claim = resets.read(token)
    return claim is not None and resets.is_signed(key, claim, set_at=set_at, now=now)


def test_a_token_holds_for_an_hour_and_names_its_user() -> None:
    claim = resets.read(TOKEN)
    assert claim is not None
    assert claim.user_id == USER
    assert holds(TOKEN, set_at=SET_AT.astimezone(timezone(timedelta(hours=-5))))
    assert holds(TOKEN, now=NOW + timedelta(minutes=59, seconds=59))
    assert not holds(TOKEN, now=NOW + timedelta(hours=1))


def test_it_dies_with_the_password_and_is_no_other_deployments() -> None:
    assert not holds(TOKEN, set_at=SET_AT + timedelta(microseconds=1))
    assert not holds(TOKEN, key="another key")


def test_a_token_that_was_changed_anywhere_does_not_hold() -> None:
    whole = base64.urlsafe_b64decode(TOKEN)
    for place in range(len(whole)):
        forged = bytearray(whole)
        forged[place] ^= 1
        assert not holds(base64.urlsafe_b64encode(forged).decode()), place


@pytest.mark.parametrize(
    "token", ["", "x", TOKEN[:-1], TOKEN + "=", TOKEN + "AAAA", f" {TOKEN}", TOKEN[:-4] + "\n" + TOKEN[-4:], "é" * 76,
              "\0", "A" * 100_000]
)  # fmt: skip
def test_what_has_not_its_form_is_none(token: str) -> None:
    assert resets.read(token) is None
