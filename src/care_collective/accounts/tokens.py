"""Issues and verifies access tokens (signed JWTs): HS256 with a shared secret, or public keys from a JWKS address.

Every bad token is `unauthenticated` and nothing more is said. Must not know sessions, members or the database:
whether the user of a good token still exists is for `care.caller()` to say (contract 1).
"""

import asyncio
import hashlib
import json
import math
import re
import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol, cast
from uuid import UUID

import httpx
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
LONGEST_TOKEN: Final = 8 * 1024
# How far another machine's clock may run ahead of ours. An expired token gets nothing of it.
LEEWAY_SECONDS: Final = 30
SHORTEST_SECRET: Final = 32  # bytes, RFC 7518 3.2
REFETCH_SECONDS: Final = 30
# While there are no keys at all every call fails, so the wait is shorter: what `retry_after` tells the caller.
RETRY_SECONDS: Final = 5
# A key that its issuer withdrew is trusted no longer than this, as long as the issuer can be reached.
STALE_SECONDS: Final = 600
FETCH_SECONDS: Final = 3.0
LARGEST_SET: Final = 64 * 1024
REMEMBERED: Final = 4096  # tokens, 0.6 KiB each: 2 µs instead of 29 (HS256) to 160 (Ed25519)

_LATEST: Final = 253_402_300_799  # the last second that datetime knows
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TOKEN: Final = re.compile(r"([\w-]+)\.[\w-]+\.[\w-]+", re.ASCII)
_log: Final = structlog.get_logger(__name__)


class Claims(msgspec.Struct, frozen=True):
    """What a good token says. `role` is the token's own word, one of `ROLES`; `expires_at` is in UTC."""

    user_id: UUID
    community_id: UUID | None
    role: str
    expires_at: datetime


class Verifier(Protocol):
    """What the door needs, whichever way tokens are signed."""

    async def verify(self, token: str, *, now: datetime) -> Claims:
        """See `_Base.verify`."""
        ...


def issue(secret: str, *, user_id: UUID, community_id: UUID | None, now: datetime, lifetime_seconds: int = 3600) -> str:
    """An access token of HS256 for a member.

    Arguments: `secret` of at least 32 bytes; `community_id` None leaves the community to the host name; `now` is an
    aware time; `lifetime_seconds` from 1. Errors: SettingsError for a bad secret.
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
    return jwt.encode({"alg": "HS256"}, claims, _secret_key(secret), registry=_PINNED["HS256"])


class _Refused(Exception):  # noqa: N818  never leaves this module
    """A token that is not good, from where it was noticed to where the caller is answered."""


# --- JSON, strict ---


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError  # two readers of such an object may see two different tokens
    return found


def _no_constant(_: str) -> float:
    raise ValueError  # NaN and Infinity are not JSON, and every comparison with NaN is false


_JSON: Final = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)


def _object(text: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8 without duplicate members, or _Refused."""
    try:
        found = _JSON.decode(text.decode())
    except (ValueError, RecursionError):
        raise _Refused from None
    if not isinstance(found, dict):
        raise _Refused
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


_PUBLIC_ALGORITHMS: Final = ("RS256", "ES256", "EdDSA", "Ed25519")
_PINNED: Final = {name: _Pinned(name) for name in ("HS256", *_PUBLIC_ALGORITHMS)}


def _header(token: str) -> tuple[str, str | None]:
    """The algorithm and key id that a token names, neither to be trusted yet, or _Refused."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise _Refused
    try:
        header = _object(urlsafe_b64decode(match[1].encode()))
    except ValueError:
        raise _Refused from None
    # `crit` names rules we would have to obey, `b64` (RFC 7797) is one of them, `enc` marks an encrypted token.
    if not header.keys().isdisjoint(("crit", "b64", "enc")):
        raise _Refused
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or ("kid" in header and not isinstance(key_id, str)):
        raise _Refused
    return algorithm, key_id


def _payload(token: str, key: Key, algorithm: str) -> dict[str, Any]:
    """The payload of a token signed by this key with this algorithm, or _Refused."""
    try:
        return _object(jws.deserialize_compact(token, key, registry=_PINNED[algorithm]).payload or b"")
    except (JoseError, ValueError, RecursionError):  # joserfc reads the header again, some frames deeper
        raise _Refused from None


def _imported(data: str | dict[str, Any], key_type: type[OctKey | RSAKey | ECKey | OKPKey]) -> Key:
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
            return _imported(secret, OctKey)
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
        raise _Refused
    return cast(float, value)


def _uuid(value: object) -> UUID:
    """A UUID in its hyphenated form, of any version: which ones exist is for the tables to say."""
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise _Refused
    return UUID(value)


def _good(payload: Mapping[str, Any]) -> _Good:
    """What a payload claims, whatever the time is, or _Refused."""
    audience, role, metadata = payload.get("aud"), payload.get("role"), payload.get("app_metadata")
    if audience != AUDIENCE and not (
        isinstance(audience, list) and all(isinstance(name, str) for name in audience) and AUDIENCE in audience
    ):
        raise _Refused
    if not isinstance(role, str) or role not in ROLES:
        raise _Refused
    if metadata is not None and not isinstance(metadata, dict):
        raise _Refused
    community = None if metadata is None else metadata.get("community_id")
    ends = _seconds(payload.get("exp"))
    return _Good(
        claims=Claims(
            user_id=_uuid(payload.get("sub")),
            community_id=None if community is None else _uuid(community),
            role=role,
            expires_at=datetime.fromtimestamp(ends, UTC),
        ),
        starts=max((_seconds(payload[name]) for name in ("nbf", "iat") if name in payload), default=0),
        ends=ends,
    )


# --- the two verifiers ---


class _Base:
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
        Errors: `unauthenticated` for every other token; `unavailable` when there are no keys to check it with.
        """
        if now.tzinfo is None:
            raise ValueError("now: an aware time")
        try:
            return await self._verified(token, now.timestamp())
        except _Refused:
            raise CareError(Code.UNAUTHENTICATED) from None

    async def _verified(self, token: str, seconds: float) -> Claims:
        if len(token) > LONGEST_TOKEN or not token.isascii():
            raise _Refused
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
            raise _Refused
        if fresh:
            self._remember(digest, good)
        return good.claims

    def _remember(self, digest: bytes, good: _Good) -> None:
        if len(self._remembered) >= self._size:
            if not self._size:
                return
            del self._remembered[next(iter(self._remembered))]
        self._remembered[digest] = good

    async def _freshen(self) -> None:
        """Renew the keys if they are old."""

    async def _key(self, algorithm: str, key_id: str | None) -> Key:
        """The key for this very algorithm, or _Refused."""
        raise NotImplementedError


class SecretVerifier(_Base):
    """Verifies tokens of HS256 with a shared secret of at least 32 bytes; their `kid` is ignored.

    `remembered` good tokens are not computed again; their times are. Errors: SettingsError for a bad secret.
    """

    def __init__(self, secret: str, *, remembered: int = REMEMBERED) -> None:
        super().__init__(remembered)
        self._secret = _secret_key(secret)

    async def _key(self, algorithm: str, key_id: str | None) -> Key:
        if algorithm != "HS256":
            raise _Refused
        return self._secret


class _PublicKey(msgspec.Struct, frozen=True):
    """One key of a set, with the only algorithms that its type allows."""

    key_id: str | None
    algorithms: frozenset[str]
    key: Key


# `EdDSA` and `Ed25519` are the old and the new name of one algorithm for this curve (RFC 9864).
_BY_TYPE: Final[Mapping[tuple[str, str | None], tuple[type[RSAKey | ECKey | OKPKey], frozenset[str]]]] = {
    ("RSA", None): (RSAKey, frozenset({"RS256"})),
    ("EC", "P-256"): (ECKey, frozenset({"ES256"})),
    ("OKP", "Ed25519"): (OKPKey, frozenset({"EdDSA", "Ed25519"})),
}


def _public_key(entry: object) -> _PublicKey | None:
    """A member of a set as far as it can verify our tokens: a public RSA (from 2048 bits), P-256 or Ed25519 key."""
    if not isinstance(entry, dict) or "d" in entry:  # who publishes a private key has published forgeries
        return None
    for (kty, curve), (key_type, algorithms) in _BY_TYPE.items():
        if (entry.get("kty"), entry.get("crv")) != (kty, curve) or entry.get("use", "sig") != "sig":
            continue
        try:
            key = _imported(entry, key_type)
        except ValueError:
            return None
        fitting = algorithms if key.alg is None else algorithms & {key.alg}
        return _PublicKey(key_id=key.kid, algorithms=fitting, key=key) if fitting else None
    return None


def _public_keys(body: bytes) -> list[_PublicKey]:
    """The usable keys of a JWK set, at least one, or _Refused."""
    entries = _object(body).get("keys")
    if not isinstance(entries, list):
        raise _Refused
    keys = [key for entry in entries if (key := _public_key(entry)) is not None]
    if not keys:
        raise _Refused
    return keys


def _address(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
        if url.scheme in ("https", "http") and url.host:
            return url
    except (httpx.InvalidURL, ValueError):
        pass
    raise SettingsError("CARE_JWKS_URL: an address with a host that begins with https:// or http://.")


class JwksVerifier(_Base):
    """Verifies tokens of RS256, ES256 and EdDSA (Ed25519) with the keys that an address publishes.

    Arguments: the address (http or https, no redirects); the client that fetches, whose owner closes it after
    `close`; `clock` counts seconds and never goes back (`time.monotonic`); `remembered` good tokens are not
    computed again; `fetch_seconds` is the time-out of one fetch as a whole.
    The set is fetched at first use, again after 10 minutes, and for an unknown key id at most every 30 seconds.
    One fetch runs at a time; if it fails or brings no usable key, the old set stays. Without any set `verify`
    answers `unavailable` with `retry_after` 5. Errors: SettingsError for another kind of address.
    """

    def __init__(
        self,
        url: str,
        client: httpx.AsyncClient,
        clock: Callable[[], float],
        *,
        remembered: int = REMEMBERED,
        fetch_seconds: float = FETCH_SECONDS,
    ) -> None:
        super().__init__(remembered)
        self._url = _address(url)
        self._client = client
        self._clock = clock
        self._fetch_seconds = fetch_seconds
        self._keys: list[_PublicKey] = []
        self._renewed = self._tried = -math.inf
        self._failing = False
        self._fetching: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """End a fetch that is under way. Call it after the last request."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])

    async def _freshen(self) -> None:
        if not self._keys or self._clock() - self._renewed < STALE_SECONDS:
            return
        task = self._start(REFETCH_SECONDS)
        # While the issuer is away nobody waits for it: the old set serves, and the fetch goes on beside.
        if task is not None and not self._failing:
            await asyncio.shield(task)

    async def _key(self, algorithm: str, key_id: str | None) -> Key:
        if algorithm not in _PUBLIC_ALGORITHMS:
            raise _Refused
        if not self._keys or (key_id is not None and all(key.key_id != key_id for key in self._keys)):
            task = self._start(REFETCH_SECONDS if self._keys else RETRY_SECONDS)
            if task is not None:
                await asyncio.shield(task)
        if not self._keys:
            raise CareError(Code.UNAVAILABLE, retry_after=RETRY_SECONDS)
        # A token may leave the key id out only where there is no choice.
        if key_id is None and len(self._keys) > 1:
            raise _Refused
        for candidate in self._keys:
            if key_id in (None, candidate.key_id) and algorithm in candidate.algorithms:
                return candidate.key
        raise _Refused

    def _start(self, every: float) -> asyncio.Task[None] | None:
        """The fetch under way, or a new one if the last began at least `every` seconds ago."""
        if self._fetching is None and self._clock() - self._tried >= every:
            self._tried = self._clock()
            self._fetching = asyncio.create_task(self._fetch())
            self._fetching.add_done_callback(self._ended)
        return self._fetching

    def _ended(self, _: asyncio.Task[None]) -> None:
        self._fetching = None

    async def _fetch(self) -> None:
        try:
            keys = _public_keys(await self._download())
        except (httpx.HTTPError, OSError, ValueError, RuntimeError, _Refused) as error:
            self._failing = True
            _log.warning("jwks_fetch_failed", error=type(error).__name__, keys_kept=len(self._keys))
            return
        # What a withdrawn key signed must not be remembered.
        self._remembered.clear()
        self._keys, self._failing = keys, False
        self._renewed = self._clock()

    async def _download(self) -> bytes:
        """The body at the address. As it travels: a compressed one could unfold beyond every limit."""
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        async with (
            # httpx's own time-out is for each read; this one is for all of them.
            asyncio.timeout(self._fetch_seconds),
            self._client.stream("GET", self._url, headers=headers, follow_redirects=False) as response,
        ):
            if response.status_code != httpx.codes.OK or "content-encoding" in response.headers:
                raise _Refused
            body = b""
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > LARGEST_SET:
                    raise _Refused
            return body
