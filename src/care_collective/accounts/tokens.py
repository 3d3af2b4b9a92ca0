"""Issues and verifies access tokens (signed JWTs): HS256 with a shared secret, or public keys from a JWKS address.

Every bad token is `unauthenticated` and nothing more is said. Must not know sessions, members or the database:
whether the user of a good token still exists, and its session, is for `care.caller()` to say (contract 1).
"""

import hashlib
import json
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol, cast
from uuid import UUID

import msgspec
import structlog
from joserfc import jws, jwt
from joserfc.errors import JoseError, SecurityWarning, UnsupportedAlgorithmError
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from joserfc.util import urlsafe_b64decode

from care_collective.errors import CareError, Code, SettingsError

AUDIENCE: Final = "authenticated"
# `anon` names nobody and `service_role` every right: neither is a member.
ROLES: Final = frozenset({"authenticated"})
# Ours alone: `session_id` is what a platform calls its own.
SESSION: Final = "care_session"
OTHER_ROLES: Final = frozenset({"anon", "service_role"})
LONGEST_TOKEN: Final = 8 * 1024
# How far another machine's clock may run ahead of ours. An expired token gets nothing of it.
LEEWAY_SECONDS: Final = 30
SHORTEST_SECRET: Final = 32  # bytes, RFC 7518 3.2
REMEMBERED: Final = 4096  # tokens, 0.6 KiB each: 2 µs instead of 29 (HS256) to 160 (Ed25519)

_LATEST: Final = 253_402_300_799  # the last second that datetime knows
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_TOKEN: Final = re.compile(r"([\w-]+)\.[\w-]+\.[\w-]+", re.ASCII)
_log: Final = structlog.get_logger(__name__)


class Claims(msgspec.Struct, frozen=True):
    """What a good token says. `role` is the token's own word, one of `ROLES`; `expires_at` is in UTC.

    `session` is the digest of the session that a token of ours ends with; None in those of others.
    """

    user_id: UUID
    community_id: UUID | None
    role: str
    expires_at: datetime
    session: str | None = None


class Verifier(Protocol):
    """What the door needs, whichever way tokens are signed."""

    async def verify(self, token: str, *, now: datetime) -> Claims:
        """See `BaseVerifier.verify`."""
        ...


def issue(
    secret: str,
    *,
    user_id: UUID,
    community_id: UUID | None,
    now: datetime,
    lifetime_seconds: int = 3600,
    session: str | None = None,
) -> str:
    """An access token of HS256 for a member.

    Arguments: `secret` of at least 32 bytes; `community_id` None leaves the community to the host name; `now` is an
    aware time; `lifetime_seconds` from 1; `session` is the digest of the session that the token ends with, None where
    it ends by its time alone. Errors: SettingsError for a bad secret.
    """
    if now.tzinfo is None or lifetime_seconds < 1:
        raise ValueError("now: an aware time; lifetime_seconds: at least 1")
    issued = int(now.timestamp())
    claims: dict[str, Any] = {
        "sub": str(user_id),
        "role": "authenticated",
        "aud": AUDIENCE,
        "iat": issued,
        "exp": issued + lifetime_seconds,
    }
    if community_id is not None:
        claims["app_metadata"] = {"community_id": str(community_id)}
    if session is not None:
        claims[SESSION] = session
    return jwt.encode({"alg": "HS256"}, claims, _secret_key(secret), registry=_PINNED["HS256"])


class Refused(Exception):  # noqa: N818  leaves this module only as a cause
    """A token that is not good, from where it was noticed to where the caller is answered."""


class Expired(Refused):
    """A token that was good once."""


class OtherRole(Refused):
    """A well signed token of a role of the platform's that is no member's."""

    def __init__(self, role: str) -> None:
        super().__init__(role)
        self.role = role


# --- JSON, strict ---


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError  # two readers of such an object may see two different tokens
    return found


def _no_constant(_: str) -> float:
    raise ValueError  # NaN and Infinity are not JSON, and every comparison with NaN is false


_JSON: Final = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)


def json_object(text: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8 without duplicate members, or Refused."""
    try:
        found = _JSON.decode(text.decode())
    except (ValueError, RecursionError):
        raise Refused from None
    if not isinstance(found, dict):
        raise Refused
    return found


# --- signature ---


class _Pinned(jws.JWSRegistry):
    """joserfc's rules with one algorithm and no other; header members that nobody asked for are ignored."""

    max_header_length = LONGEST_TOKEN

    def __init__(self, algorithm: str) -> None:
        super().__init__(algorithms=(algorithm,), strict_check_header=False)
        self._algorithm = algorithm

    def get_alg(self, name: str) -> JWSAlgModel:
        # joserfc's own warns of `EdDSA` at each call since RFC 9864 renamed it; issuers still write it.
        if name != self._algorithm:
            raise UnsupportedAlgorithmError
        return self.algorithms[name]


PUBLIC_ALGORITHMS: Final = ("RS256", "ES256", "EdDSA", "Ed25519")
_PINNED: Final = {name: _Pinned(name) for name in ("HS256", *PUBLIC_ALGORITHMS)}


def _header(token: str) -> tuple[str, str | None]:
    """The algorithm and key id that a token names, neither to be trusted yet, or Refused."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise Refused
    try:
        header = json_object(urlsafe_b64decode(match[1].encode()))
    except ValueError:
        raise Refused from None
    # `crit` names rules we would have to obey, `b64` (RFC 7797) is one of them, `enc` marks an encrypted token.
    if not header.keys().isdisjoint(("crit", "b64", "enc")):
        raise Refused
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or ("kid" in header and not isinstance(key_id, str)):
        raise Refused
    return algorithm, key_id


def _payload(token: str, key: Key, algorithm: str) -> dict[str, Any]:
    """The payload of a token signed by this key with this algorithm, or Refused."""
    try:
        return json_object(jws.deserialize_compact(token, key, registry=_PINNED[algorithm]).payload or b"")
    except (JoseError, ValueError, RecursionError):  # joserfc reads the header again, some frames deeper
        raise Refused from None


def imported(data: str | dict[str, Any], key_type: type[OctKey | RSAKey | ECKey | OKPKey]) -> Key:
    """A key, or ValueError. What joserfc only warns of (short keys, a PEM as secret) is refused too."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", SecurityWarning)
        try:
            key = key_type.import_key(data)
            key.check_key_op("verify")
        except (JoseError, SecurityWarning, TypeError, LookupError, ArithmeticError) as error:
            raise ValueError from error
    return key


def _secret_key(secret: str) -> Key:
    try:
        if len(secret.encode()) >= SHORTEST_SECRET:
            return imported(secret, OctKey)
    except ValueError:
        pass
    raise SettingsError(f"CARE_JWT_SECRET: a random text of at least {SHORTEST_SECRET} bytes, and no PEM key.")


# --- claims ---


class _Good(msgspec.Struct, frozen=True):
    """Verified claims and the seconds between which they hold."""

    claims: Claims
    starts: float
    ends: float

    def holds(self, seconds: float) -> bool:
        return self.starts <= seconds + LEEWAY_SECONDS and seconds < self.ends


def _seconds(value: object) -> float:
    """A NumericDate (RFC 7519 2): an integer or a finite fraction that datetime can hold. Not a bool, not text."""
    if type(value) not in (int, float) or not 0 <= cast(float, value) <= _LATEST:
        raise Refused
    return cast(float, value)


def _uuid(value: object) -> UUID:
    """A UUID in its hyphenated form, of any version: which ones exist is for the tables to say."""
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise Refused
    return UUID(value)


def _digest(value: object) -> str:
    """A SHA-256 in hexadecimal digits."""
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise Refused
    return value


def _good(payload: Mapping[str, Any]) -> _Good:
    """What a payload claims, whatever the time is, or Refused."""
    audience, role, metadata = payload.get("aud"), payload.get("role"), payload.get("app_metadata")
    if isinstance(role, str) and role in OTHER_ROLES:  # a platform's own keys name no audience
        raise OtherRole(role)
    if audience != AUDIENCE and not (
        isinstance(audience, list) and all(isinstance(name, str) for name in audience) and AUDIENCE in audience
    ):
        raise Refused
    if not isinstance(role, str) or role not in ROLES:
        raise Refused
    if metadata is not None and not isinstance(metadata, dict):
        raise Refused
    community = None if metadata is None else metadata.get("community_id")
    ends = _seconds(payload.get("exp"))
    return _Good(
        claims=Claims(
            user_id=_uuid(payload.get("sub")),
            community_id=None if community is None else _uuid(community),
            role=role,
            expires_at=datetime.fromtimestamp(ends, UTC),
            session=_digest(payload[SESSION]) if SESSION in payload else None,
        ),
        starts=max((_seconds(payload[name]) for name in ("nbf", "iat") if name in payload), default=0),
        ends=ends,
    )


# --- the two verifiers ---


class BaseVerifier(ABC):
    """Reads a token in one order for every kind of key, and remembers the good ones."""

    def __init__(self, remembered: int) -> None:
        self._size = remembered
        # By digest: a dump of the memory holds no token, and a look-up's time tells nothing about one.
        self._remembered: dict[bytes, _Good] = {}

    async def verify(self, token: str, *, now: datetime) -> Claims:
        """The claims of a good token.

        Arguments: the token as it came, at most 8 KiB; `now` is an aware time. The algorithm is the key's, `exp` is
        required, `nbf` and `iat` may lie 30 seconds ahead, `aud` must name `authenticated`, `role` be one of
        `ROLES`, `sub` a UUID.
        Errors: `unauthenticated` for every other token, its cause `Expired` or `OtherRole` where it is well signed;
        `unavailable` when there are no keys to check it with.
        """
        if now.tzinfo is None:
            raise ValueError("now: an aware time")
        try:
            return await self._verified(token, now.timestamp())
        except (Expired, OtherRole) as error:
            raise CareError(Code.UNAUTHENTICATED) from error
        except Refused:
            raise CareError(Code.UNAUTHENTICATED) from None

    async def _verified(self, token: str, seconds: float) -> Claims:
        if len(token) > LONGEST_TOKEN or not token.isascii():
            raise Refused
        await self._freshen()
        digest = hashlib.sha256(token.encode()).digest()
        good = self._remembered.get(digest)
        fresh = good is None
        if good is None:
            algorithm, key_id = _header(token)
            key = await self._key(algorithm, key_id)
            good = _good(_payload(token, key, algorithm))
        if not good.holds(seconds):
            self._remembered.pop(digest, None)
            raise Expired if seconds >= good.ends else Refused
        if fresh:
            self._remember(digest, good)
        return good.claims

    def _remember(self, digest: bytes, good: _Good) -> None:
        if len(self._remembered) >= self._size:
            if not self._size:
                return
            del self._remembered[next(iter(self._remembered))]
        self._remembered[digest] = good

    async def _freshen(self) -> None:  # noqa: B027  only published keys grow old
        """Renew the keys if they are old."""

    @abstractmethod
    async def _key(self, algorithm: str, key_id: str | None) -> Key:
        """The key for this very algorithm, or Refused."""


class SecretVerifier(BaseVerifier):
    """Verifies tokens of HS256 with a shared secret of at least 32 bytes; their `kid` is ignored.

    `remembered` good tokens are not computed again; their times are. Errors: SettingsError for a bad secret.
    """

    def __init__(self, secret: str, *, remembered: int = REMEMBERED) -> None:
        super().__init__(remembered)
        self._secret = _secret_key(secret)

    async def _key(self, algorithm: str, key_id: str | None) -> Key:
        if algorithm != "HS256":
            raise Refused
        return self._secret
