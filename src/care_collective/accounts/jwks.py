"""Verifies access tokens with the public keys that an issuer publishes at an address (JWKS).

Keeps the last good set when the issuer is away, and never fetches more often than it says.
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Final

import httpx
import msgspec
import structlog
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from care_collective.accounts.tokens import PUBLIC_ALGORITHMS, REMEMBERED, BaseVerifier, Refused, imported, json_object
from care_collective.errors import CareError, Code, SettingsError

REFETCH_SECONDS: Final = 30
# While there are no keys at all every call fails, so the wait is shorter: what `retry_after` tells the caller.
RETRY_SECONDS: Final = 5
# A key that its issuer withdrew is trusted no longer than this, as long as the issuer can be reached.
STALE_SECONDS: Final = 600
FETCH_SECONDS: Final = 3.0
LARGEST_SET: Final = 64 * 1024

_log: Final = structlog.get_logger(__name__)


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
            key = imported(entry, key_type)
        except ValueError:
            return None
        fitting = algorithms if key.alg is None else algorithms & {key.alg}
        return _PublicKey(key_id=key.kid, algorithms=fitting, key=key) if fitting else None
    return None


def _public_keys(body: bytes) -> list[_PublicKey]:
    """The usable keys of a JWK set, at least one, or Refused."""
    entries = json_object(body).get("keys")
    if not isinstance(entries, list):
        raise Refused
    keys = [key for entry in entries if (key := _public_key(entry)) is not None]
    if not keys:
        raise Refused
    return keys


def _address(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
        if url.scheme in ("https", "http") and url.host:
            return url
    except (httpx.InvalidURL, ValueError):
        pass
    raise SettingsError("CARE_JWKS_URL: an address with a host that begins with https:// or http://.")


class JwksVerifier(BaseVerifier):
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
        if algorithm not in PUBLIC_ALGORITHMS:
            raise Refused
        if not self._keys or (key_id is not None and all(key.key_id != key_id for key in self._keys)):
            task = self._start(REFETCH_SECONDS if self._keys else RETRY_SECONDS)
            if task is not None:
                await asyncio.shield(task)
        if not self._keys:
            raise CareError(Code.UNAVAILABLE, retry_after=RETRY_SECONDS)
        # A token may leave the key id out only where there is no choice.
        if key_id is None and len(self._keys) > 1:
            raise Refused
        for candidate in self._keys:
            if key_id in (None, candidate.key_id) and algorithm in candidate.algorithms:
                return candidate.key
        raise Refused

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
        except (httpx.HTTPError, OSError, ValueError, RuntimeError, Refused) as error:
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
                raise Refused
            body = b""
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > LARGEST_SET:
                    raise Refused
            return body
