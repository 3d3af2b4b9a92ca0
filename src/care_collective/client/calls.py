"""Reads and writes with their attempts: what is tried again, and that a write keeps its one key through all of them."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from typing import Any, Final, TypeVar
from uuid import UUID, uuid4

import msgspec

from care_collective.client.errors import CareClientError, Unauthenticated
from care_collective.client.live import Event, follow
from care_collective.client.models import Written
from care_collective.client.retries import Retries
from care_collective.client.session import Identity, Session
from care_collective.client.wire import Shape, Wire

_LONGEST_KEY: Final = 255

Result = TypeVar("Result", bound=Written)
Found = TypeVar("Found")


class Calls:
    """Calls of one client, for its session's caller."""

    def __init__(self, wire: Wire, session: Session, retries: Retries) -> None:
        self._wire = wire
        self._session = session
        self._retries = retries

    async def read(self, path: str, shape: type[Shape], **params: object) -> Shape:
        """Reads `path`; parameters that are None are left out. Errors: CareClientError."""
        query = {name: _parameter(value) for name, value in params.items() if value is not None}

        async def attempt(caller: Identity) -> Shape:
            return (await self._wire.answer("GET", path, shape, headers=caller.headers(), params=query))[0]

        return await self._tried(attempt)

    def follow(self, path: str, *, after: int | None, **params: object) -> AsyncGenerator[Event, None]:
        """The events of a live stream from a seq on, None: from now on; for ever. Errors: CareClientError."""
        query = {name: _parameter(value) for name, value in params.items() if value is not None}
        return follow(self._wire, self._session, self._retries, path, query, after)

    async def look(self, path: str, shape: type[Shape], *, also: Collection[int] = ()) -> Shape:
        """Reads `path` as nobody in particular, in one attempt; an answer of a status in `also` is a result too."""
        return (await self._wire.answer("GET", path, shape, headers={}, also=also))[0]

    async def write(
        self,
        method: str,
        path: str,
        shape: type[Result],
        *,
        body: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Result:
        """Writes under one idempotency key, a new one unless it is given, through all attempts.

        Errors: CareClientError, with the key; ValueError for a key that is not 1 to 255 printable ASCII characters.
        """
        held = uuid4().hex if key is None else _checked(key)

        async def attempt(caller: Identity) -> Result:
            headers = {**caller.headers(), "Idempotency-Key": held}
            result, answer = await self._wire.answer(method, path, shape, headers=headers, body=body)
            replayed = answer.headers.get("idempotency-replayed") == "true"
            return msgspec.structs.replace(result, replayed=replayed)

        try:
            return await self._tried(attempt)
        except CareClientError as error:
            error.key = held
            raise

    async def _tried(self, attempt: Callable[[Identity], Awaitable[Found]]) -> Found:
        number, renewed = 1, False
        caller = await self._session.identity()
        while True:
            try:
                return await attempt(caller)
            except Unauthenticated:
                if renewed or not await self._session.renew(caller):
                    raise
                renewed = True
            except CareClientError as error:
                pause = self._retries.pause(error, number)
                if pause is None:
                    raise
                number += 1
                await self._retries.sleep(pause)
            caller = await self._session.identity()


def part(identity: UUID) -> str:
    """An id as a part of a path. Errors: ValueError for text that is none: it could lead to another path."""
    return str(UUID(str(identity)))


def _parameter(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _checked(key: str) -> str:
    if not 1 <= len(key) <= _LONGEST_KEY or key.strip() != key or not (key.isascii() and key.isprintable()):
        raise ValueError(f"key is 1 to {_LONGEST_KEY} printable ASCII characters")
    return key
