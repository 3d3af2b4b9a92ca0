"""Signed-in browsers: an opaque cookie value, of which the database keeps only a hash, and its CSRF token."""

import hashlib
import hmac
import secrets
from typing import Final
from uuid import UUID

import msgspec

from care_collective.db.call import Database

# Thirty days: people come back to an answer after a week, on a phone that only they hold.
LIFETIME_SECONDS: Final = 30 * 24 * 3600


class Session(msgspec.Struct, frozen=True):
    """Whose session a cookie opens. A person acts in one community at a time."""

    user_id: UUID
    community_id: UUID


def digest(token: str) -> bytes:
    """What the database keeps of a session's token."""
    return hashlib.sha256(token.encode()).digest()


async def start(database: Database, *, user_id: UUID, community_id: UUID) -> str | None:
    """Opens a session under a new token, 32 random bytes as text; None where the user is no member there.

    The token is never one that a browser brought, so that nobody can plant a session to be signed in to.
    """
    token = secrets.token_urlsafe(32)
    opened = await database.value(
        "care.open_session",
        p_id_hash=digest(token),
        p_user_id=user_id,
        p_community_id=community_id,
        p_seconds=LIFETIME_SECONDS,
    )
    return token if opened else None


async def read(database: Database, token: str) -> Session | None:
    """The session of a token, or None when there is none or it has expired."""
    text = await database.value("care.read_session", p_id_hash=digest(token))
    return None if text is None else msgspec.json.decode(text, type=Session)


async def end(database: Database, hashed: bytes) -> None:
    """Ends a session by its digest, and the bearer token that came with it; one that is gone already stays gone."""
    await database.value("care.close_session", p_id_hash=hashed)


def csrf_token(secret_key: str, token: str) -> str:
    """The CSRF token of a session, 64 hexadecimal digits, bound to it and to this deployment's key."""
    return hmac.new(secret_key.encode(), b"csrf:" + digest(token), hashlib.sha256).hexdigest()


def is_csrf_token(secret_key: str, token: str, presented: str) -> bool:
    """Whether a presented CSRF token belongs to the session. Takes the same time whatever is presented."""
    return hmac.compare_digest(csrf_token(secret_key, token).encode(), presented.encode("utf-8", "replace"))
