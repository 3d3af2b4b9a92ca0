"""The seam: one call of one SQL function is one statement, one round trip, one transaction.

Translates the driver's errors and retries what may be retried (rule 11). Knows no function by name.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from care_collective.db.pool import Spares, give_back, roll_back
from care_collective.errors import CareError, Code, from_sqlstate

_ATTEMPTS: Final = 4  # the first and three retries (rule 11)
# How long a server that takes no connection is asked for one: whoever waits longer reads better that it is away.
_PATIENCE_SECONDS: Final = 0.5
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Caller:
    """For whom a call is made: the two settings a gateway would set, and nothing else.

    `user_id` None is nobody. `idempotency_key` and `request_id` become the request's headers. `session` is that of the
    bearer token which the caller came with, without which they are nobody; None where a token names none.
    """

    user_id: UUID | None = None
    community_id: UUID | None = None
    idempotency_key: str | None = None
    request_id: str | None = None
    session: str | None = None

    def claims(self) -> str:
        """The JSON of request.jwt.claims, '' for nobody."""
        if self.user_id is None:
            return ""
        claims: dict[str, Any] = {"sub": self.user_id, "role": "authenticated"}
        if self.community_id is not None:
            claims["app_metadata"] = {"community_id": self.community_id}
        if self.session is not None:
            claims["care_session"] = self.session
        return _encode(claims).decode()

    def headers(self) -> str:
        """The JSON of request.headers, '' where there is none to pass."""
        named = {"idempotency-key": self.idempotency_key, "x-request-id": self.request_id}
        present = {name: value for name, value in named.items() if value is not None}
        return _encode(present).decode() if present else ""


NOBODY: Final = Caller()


class _Summary(msgspec.Struct, frozen=True):
    success: bool | None = None
    error: str | None = None
    message: str | None = None
    reason: str | None = None


_decode_summary = msgspec.json.Decoder(_Summary).decode


@dataclass(frozen=True)  # without slots: the refusal is kept beside the fields
class Answer:
    """What a function answered: its JSON text as it came, and the response headers that it set."""

    text: str
    headers: dict[str, str]

    def refusal(self) -> CareError | None:
        """The refusal in the answer as an error, or None after a success. Further members become extras."""
        return self._refusal

    @cached_property
    def _refusal(self) -> CareError | None:
        # Kept: who counts a call and who passes its answer on both ask, and a page of a thread is long to look through.
        summary = _decode_summary(self.text)
        if summary.error is None:
            return None
        extras = msgspec.json.decode(self.text)
        for name in ("success", "error", "message", "reason"):
            extras.pop(name, None)
        return CareError(Code(summary.error), reason=summary.reason, message=summary.message, **extras)

    def success(self) -> str:
        """The JSON text of a success. Errors: the refusal as CareError."""
        refusal = self.refusal()
        if refusal is not None:
            raise refusal
        return self.text

    def data(self) -> Any:  # noqa: ANN401  JSON of the function's own shape
        """The decoded JSON of a success. Errors: the refusal as CareError."""
        return msgspec.json.decode(self.success())


class Database:
    """Calls functions over a pool. One object a process."""

    def __init__(
        self, pool: asyncpg.Pool, *, acquire_seconds: float = 5.0, random_: random.Random | None = None
    ) -> None:
        self.pool = pool
        self._spares = Spares(pool)
        self._waiting = 0
        self._acquire_seconds = acquire_seconds
        self._random = random_ or random.Random()  # noqa: S311  jitter is no secret
        self._statements: dict[tuple[str, tuple[str, ...]], str] = {}

    async def call(self, function: str, caller: Caller = NOBODY, /, **arguments: object) -> Answer:
        """Calls `schema.function(name => value, …)`, which answers jsonb. Retries and errors as `value`."""
        row = await self._row(function, caller, arguments)
        return Answer(row[0], _headers(row[1]))

    async def value(self, function: str, caller: Caller = NOBODY, /, **arguments: object) -> Any:  # noqa: ANN401
        """Calls a function and answers its value as the driver gives it.

        A deadlock or serialization failure is retried up to 3 times with jitter. A connection that is refused is asked
        for again for half a second: nothing was written yet. One that was lost is retried only with an idempotency key,
        since the commit may have happened; a lock or statement time-out never. Errors:
        CareError `unavailable` for transient faults, `rpc_error` for any other that was raised.
        """
        return (await self._row(function, caller, arguments))[0]

    @asynccontextmanager
    async def undone(self) -> AsyncIterator["Database"]:
        """Within it, the same calls on one connection and in one transaction, which is rolled back at the end.

        For trying what must leave nothing. After a call that raised, all further ones raise. Errors: CareError
        `unavailable` where no connection is to be had.
        """
        try:
            connection = await self._acquire()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise CareError(Code.UNAVAILABLE, retry_after=1) from error
        try:
            try:
                await connection.execute("begin")
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                raise CareError(Code.UNAVAILABLE, retry_after=1) from error
            yield Database(_Borrowed(connection), acquire_seconds=self._acquire_seconds, random_=self._random)
        finally:
            await roll_back(self.pool, connection)

    async def _row(self, function: str, caller: Caller, arguments: dict[str, object]) -> asyncpg.Record:
        statement = self._statement(function, tuple(arguments))
        began = time.monotonic()
        deadline, patience = began + self._acquire_seconds, began + min(self._acquire_seconds, _PATIENCE_SECONDS)
        for attempt in count(1):
            connected = False
            try:
                connection = self._spares.take() or await self._acquire()
                connected = True
                answered = False
                try:
                    row = await self._fetch(connection, statement, caller, arguments.values())
                    answered = True
                finally:
                    await self._release(connection, whole=answered)
                return row
            except (asyncpg.DataError, ValueError, OverflowError) as error:
                # Refused by the driver before anything was sent, or by the server as no value of its type.
                refused = CareError(Code.VALIDATION_ERROR)
                refused.sqlstate = getattr(error, "sqlstate", None) or "22P02"
                raise refused from error
            except asyncpg.PostgresError as error:
                # Without a connection nothing was asked yet: to try again is no second write. Class 53 is a server
                # that has none left at this moment.
                lost = {"08", "57"} if caller.idempotency_key else set()
                again = error.sqlstate[:2] in ({"40"} | lost if connected else {"40", "08", "53", "57"})
                last = attempt >= _ATTEMPTS if connected else time.monotonic() > patience
                if not again or last or error.sqlstate == "57014":
                    raise _told(from_sqlstate(error.sqlstate), connected) from error
            except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
                # The driver's own error is what remains of a connection that ended while it prepared a statement, or
                # while its caller was cancelled: who is cancelled stays so.
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise asyncio.CancelledError from error
                once = connected and caller.idempotency_key is None
                last = time.monotonic() > (deadline if connected else patience)
                if once or last or (connected and attempt >= _ATTEMPTS):
                    raise _told(CareError(Code.UNAVAILABLE, retry_after=1), connected) from error
            await asyncio.sleep(self._random.uniform(0.005, 0.05) * min(attempt, _ATTEMPTS))
        raise AssertionError("the last attempt returned or raised")

    async def _acquire(self) -> asyncpg.pool.PoolConnectionProxy:
        self._waiting += 1
        try:
            # Not the pool's own time-out: that makes a task at each call.
            async with asyncio.timeout(self._acquire_seconds):
                return await self.pool.acquire()
        finally:
            self._waiting -= 1

    async def _release(self, connection: asyncpg.pool.PoolConnectionProxy, *, whole: bool) -> None:
        # Only the pool can wait for what a call that was cut is still doing, and only it knows who waits for longest.
        if whole and not self._waiting:
            self._spares.keep(connection)
        else:
            await give_back(self.pool, connection)

    async def _fetch(
        self,
        connection: asyncpg.pool.PoolConnectionProxy,
        statement: str,
        caller: Caller,
        arguments: Any,  # noqa: ANN401
    ) -> asyncpg.Record:
        return await connection.fetchrow(statement, caller.claims(), caller.headers(), *arguments)

    def _statement(self, function: str, names: tuple[str, ...]) -> str:
        known = self._statements.get((function, names))
        if known is None:
            arguments = ", ".join(f"{name} => ${place}" for place, name in enumerate(names, start=3))
            # The function stands in the target list: in FROM or WHERE it can run before set_config. No table is named
            # here, it would be planned with the login role's rights.
            known = self._statements[(function, names)] = (
                "with request as materialized (select set_config('request.jwt.claims', $1, true), "  # noqa: S608  values are bound
                "set_config('request.headers', $2, true)) "
                f"select {function}({arguments}), current_setting('response.headers', true) from request"
            )
        return known


def _told(error: CareError, connected: bool) -> CareError:
    """A fault with what is known of its connection; of one that the server answered on, nothing."""
    if not connected:
        error.connection = "none"
    elif error.sqlstate is None or error.sqlstate[:2] == "08" or error.sqlstate[:3] == "57P":
        error.connection = "lost"
    return error


class _Borrowed:
    """A pool of the one connection that whoever made it keeps."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def acquire(self) -> asyncpg.Connection:
        """The connection."""
        return self._connection

    async def release(self, _: asyncpg.Connection, *, timeout: float) -> None:  # noqa: ASYNC109  the pool's
        """Nothing: it stays whose it is."""


def _headers(text: str | None) -> dict[str, str]:
    if not text:
        return {}
    return {name: value for header in msgspec.json.decode(text) for name, value in header.items()}
