"""The token in a letter to somebody who forgot their password: signed, good for an hour and for one change.

Nothing is stored for it. It is bound to the time when the present password was set, so that any change of the password,
its own among them, ends it. Must not know people or letters.
"""

import base64
import binascii
import hashlib
import hmac
import struct
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

LIFETIME: Final = timedelta(hours=1)
# The user's id, then the second at which it ends, then the signature.
_BODY: Final = struct.Struct(">16sQ")
_SIGNATURE_BYTES: Final = 32
_LENGTH: Final = _BODY.size + _SIGNATURE_BYTES


class Claim(msgspec.Struct, frozen=True):
    """What a token says of itself, which is worth nothing before `is_signed`."""

    user_id: UUID
    body: bytes
    signature: bytes
    ends_at: int


def reset_token(secret_key: str, *, user_id: UUID, set_at: datetime, now: datetime) -> str:
    """A token with which a user sets a new password within an hour; text that fits into an address.

    `set_at` is when their present password was set, as care.password_set_at answers it.
    """
    body = _BODY.pack(user_id.bytes, int((now + LIFETIME).timestamp()))
    return base64.urlsafe_b64encode(body + _signature(secret_key, body, set_at)).decode()


def read(token: str) -> Claim | None:
    """What a token says, or None for what has not the form of one. Proves nothing."""
    try:
        found = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return None
    # As it is written by reset_token: the same bytes have other spellings.
    if len(found) != _LENGTH or base64.urlsafe_b64encode(found).decode() != token:
        return None
    body = found[: _BODY.size]
    identity, ends_at = _BODY.unpack(body)
    return Claim(UUID(bytes=identity), body, found[_BODY.size :], ends_at)


def is_signed(secret_key: str, claim: Claim, *, set_at: datetime, now: datetime) -> bool:
    """Whether a claim is this deployment's own, for the password set at `set_at`, and not ended."""
    fits = hmac.compare_digest(_signature(secret_key, claim.body, set_at), claim.signature)
    return fits and now.timestamp() < claim.ends_at


def _signature(secret_key: str, body: bytes, set_at: datetime) -> bytes:
    # Whole microseconds, as the database keeps them.
    moment = set_at.astimezone(UTC).isoformat(timespec="microseconds").encode()
    return hmac.new(secret_key.encode(), b"password reset:" + body + moment, hashlib.sha256).digest()
