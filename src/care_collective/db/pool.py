"""A process's pool of connections, and how they go back. They run as care_app, hold no state and are never reset."""

import asyncio
from contextlib import suppress
from typing import Final

import asyncpg

from care_collective.errors import SettingsError

# Long enough for the next call of a busy process, too short for whoever closes a pool to notice.
_SPARE_SECONDS: Final = 0.01
# How long a connection is waited for whose statement was given up: one that does not answer is ended.
_RELEASE_SECONDS: Final = 1.0


async def _no_reset(connection: asyncpg.Connection) -> None:
    """Nothing to reset: every call is one statement with transaction-local settings, so a round trip is saved."""


async def make_pool(
    url: str, *, become: str | None = None, size: int = 16, statement_cache: int = 100, statement_seconds: int = 10
) -> asyncpg.Pool:
    """A pool of up to `size` connections to `url`.

    `become`: the role to take on, for a deployment that has only the owner's URL. `statement_cache` 0 is for poolers
    that share server connections. Errors: SettingsError in words when the server cannot be reached or refuses.
    """
    settings = {"timezone": "UTC", "application_name": "care-collective", "statement_timeout": f"{statement_seconds}s"}
    if become is not None:
        settings["role"] = become
    try:
        return await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=size,
            reset=_no_reset,
            server_settings=settings,
            statement_cache_size=statement_cache,
            timeout=5,
            command_timeout=statement_seconds + 5,
            max_inactive_connection_lifetime=300,
        )
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError, TimeoutError) as error:
        raise SettingsError(f"DATABASE_URL: the database does not let us in: {error}") from error


async def give_back(pool: asyncpg.Pool, connection: asyncpg.pool.PoolConnectionProxy) -> None:
    """Gives a connection back to its pool, which ends one that does not answer within a second."""
    with suppress(TimeoutError):
        await pool.release(connection, timeout=_RELEASE_SECONDS)


async def roll_back(pool: asyncpg.Pool, connection: asyncpg.pool.PoolConnectionProxy) -> None:
    """Ends a transaction without a trace and gives its connection back, or ends that, too."""
    # The pool resets nothing: a connection that is not out of its transaction for certain is not given back alive.
    try:
        async with asyncio.timeout(_RELEASE_SECONDS):
            await connection.execute("rollback")
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        with suppress(asyncpg.InterfaceError):  # the pool takes back by itself what the server has ended
            connection.terminate()
    finally:
        await give_back(pool, connection)


class Spares:
    """Connections that a call has just done with, for the next one, before they are given back to their pool.

    The pool's own way of taking back is a task and two turns of the loop for each call: a twentieth of what the web
    process spends on a page of a thread.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._spare: list[asyncpg.pool.PoolConnectionProxy] = []
        self._due = False
        self._returning: set[asyncio.Task[None]] = set()

    def take(self) -> asyncpg.pool.PoolConnectionProxy | None:
        """One that is open, or None."""
        while self._spare:
            connection = self._spare.pop()
            with suppress(asyncpg.InterfaceError):  # the pool has taken back by itself what the server has ended
                if not connection.is_closed():
                    return connection
            self._return(connection)  # where the pool has not heard of its end, it would be lent for ever
        return None

    def keep(self, connection: asyncpg.pool.PoolConnectionProxy) -> None:
        """Takes a connection on which a call was answered; after a moment it goes back."""
        self._spare.append(connection)
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_later(_SPARE_SECONDS, self._give_back)

    def _give_back(self) -> None:
        self._due = False
        while self._spare:
            self._return(self._spare.pop())

    def _return(self, connection: asyncpg.pool.PoolConnectionProxy) -> None:
        task = asyncio.create_task(give_back(self._pool, connection))
        self._returning.add(task)
        task.add_done_callback(self._returning.discard)
