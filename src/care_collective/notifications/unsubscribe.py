"""The signed address in every letter that ends letters: for one member of one community, without signing in."""

import base64
import hashlib
import hmac
from typing import Final
from uuid import UUID

_ID_BYTES: Final = 16
# Half of it: what a forger gains is that somebody's letters end.
_SEAL_BYTES: Final = 16


def sealed(secret_key: str, community_id: UUID, user_id: UUID) -> str:
    """The token for a member: their two ids and a seal of this deployment's key, 64 characters for an address."""
    ids = community_id.bytes + user_id.bytes
    return base64.urlsafe_b64encode(ids + _seal(secret_key, ids)).decode()


def opened(secret_key: str, token: str) -> tuple[UUID, UUID] | None:
    """The community and the member of a token, or None for one that is not ours."""
    try:
        found = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
    except ValueError:
        return None
    ids, seal = found[: 2 * _ID_BYTES], found[2 * _ID_BYTES :]
    if len(ids) != 2 * _ID_BYTES or not hmac.compare_digest(seal, _seal(secret_key, ids)):
        return None
    return UUID(bytes=ids[:_ID_BYTES]), UUID(bytes=ids[_ID_BYTES:])


def _seal(secret_key: str, ids: bytes) -> bytes:
    return hmac.new(secret_key.encode(), b"unsubscribe:" + ids, hashlib.sha256).digest()[:_SEAL_BYTES]
