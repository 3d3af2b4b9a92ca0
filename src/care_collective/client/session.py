"""Who calls: a token that was given, or an account that is signed in to when needed. Signing in is never retried."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx
import msgspec

from care_collective.client.models import Done, Left, Me
from care_collective.client.wire import Wire

# A token is renewed this long before it ends, so that it does not end on the way; a short one a tenth before.
_AHEAD_SECONDS: Final = 30
_COOKIES: Final = ("care_session", "__Host-care_session")


class Credentials(msgspec.Struct, frozen=True):
    """An e-mail address and its password."""

    email: str
    password: str

    def __repr__(self) -> str:
        return "Credentials(...)"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a call says about its caller. `ends`: when to renew it, on the session's clock, in seconds."""

    token: str | None = None
    cookie: str | None = None
    csrf_token: str | None = None
    ends: float | None = None

    def headers(self, *, both: bool = False) -> dict[str, str]:
        """A bearer token, else the session's cookie with its CSRF token; `both` for what concerns the session."""
        found: dict[str, str] = {}
        if self.token is not None:
            found["Authorization"] = f"Bearer {self.token}"
        if self.cookie is not None and (both or self.token is None):
            found["Cookie"] = self.cookie
            found["X-CSRF-Token"] = self.csrf_token or ""
        return found

    def __repr__(self) -> str:
        return "Identity(...)"


NOBODY: Final = Identity()


class Session:
    """The caller of one client, renewed when it has ended and the credentials are known.

    `clock` answers seconds. Errors of every method that signs in: as the call of that name.
    """

    def __init__(
        self, wire: Wire, *, token: str | None, credentials: Credentials | None, clock: Callable[[], float]
    ) -> None:
        if token is not None and credentials is not None:
            raise ValueError("give a token or credentials, not both")
        self._wire = wire
        self._identity = Identity(token=token) if token is not None else NOBODY
        self._credentials = credentials
        self._clock = clock
        self._turn = asyncio.Lock()

    async def identity(self) -> Identity:
        """Who calls now; signs in first where that is due."""
        now = self._identity
        due = now is NOBODY or (now.ends is not None and self._clock() >= now.ends)
        if due:
            await self.renew(now)
        return self._identity

    async def renew(self, refused: Identity) -> bool:
        """Signs in again in place of an identity that was refused, once for all who wait; whether there is another."""
        async with self._turn:
            if self._identity is not refused:
                return True
            if self._credentials is None:
                return False
            await self._enter("/api/auth/sign-in", msgspec.to_builtins(self._credentials))
            return True

    async def open(self, path: str, body: Mapping[str, Any], credentials: Credentials) -> Me:
        """Signs in or up, and keeps the credentials for when the token has ended."""
        async with self._turn:
            me = await self._enter(path, body)
            self._credentials = credentials
            return me

    async def close(self) -> Done:
        """Signs out, and forgets who called whatever the answer is."""
        left, self._identity, self._credentials = self._identity, NOBODY, None
        done, _ = await self._wire.answer("POST", "/api/auth/sign-out", Done, headers=left.headers(both=True))
        self._drop_cookies()
        return done

    async def leave(self) -> Left:
        """Deletes the caller's account, with their password where the client knows it, and forgets who called."""
        caller = await self.identity()
        body = {"confirm": "delete"}
        if self._credentials is not None:
            body["password"] = self._credentials.password
        left, _ = await self._wire.answer("DELETE", "/api/me", Left, headers=caller.headers(), body=body)
        self._identity, self._credentials = NOBODY, None
        self._drop_cookies()
        return left

    async def _enter(self, path: str, body: Mapping[str, Any]) -> Me:
        earlier = self._identity.headers(both=True)
        earlier.pop("Authorization", None)
        me, answer = await self._wire.answer("POST", path, Me, headers=earlier, body=body)
        self._identity = Identity(
            token=me.access_token,
            cookie=_cookie(answer),
            csrf_token=me.csrf_token,
            ends=None if me.expires_in is None else self._clock() + me.expires_in - _ahead(me.expires_in),
        )
        self._drop_cookies()
        return me

    def _drop_cookies(self) -> None:
        # Several clients may share the caller's httpx client: no member's session may stay in the jar of all.
        for cookie in list(self._wire.http.cookies.jar):
            if cookie.name in _COOKIES:
                self._wire.http.cookies.jar.clear(cookie.domain, cookie.path, cookie.name)


def _ahead(lifetime_seconds: int) -> float:
    return min(_AHEAD_SECONDS, lifetime_seconds / 10)


def _cookie(answer: httpx.Response) -> str | None:
    for value in answer.headers.get_list("set-cookie"):
        pair: str = value.partition(";")[0].strip()
        if pair.partition("=")[0] in _COOKIES:
            return pair
    return None
