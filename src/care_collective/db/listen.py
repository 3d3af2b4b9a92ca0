"""Hears what the database notifies: one LISTEN connection a process, for any number of channels.

A notification is a hint and no message: one that is sent while nobody is connected is gone. So after every
connection each subscriber is told to read again. Knows no channel by name and no payload.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any, Final

import asyncpg
import structlog

log = structlog.get_logger("care_collective.db")

# Seconds. The pause before attempt n is drawn from 0 to FIRST * 2 ** n: nodes do not come back in step.
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_CONNECT_SECONDS: Final = 5.0
# A connection whose other end has vanished without a word is found out by asking; silence alone says nothing.
PROBE_SECONDS: Final = 10.0

Heard = Callable[[str], None]
Reread = Callable[[], None]


class Listener:
    """Calls subscribers back, in the event loop; they return at once. `run` has to be running for that.

    `url` leads to the database itself, never to a pooler that shares connections. `become` is the role to take on,
    `application_name` what operators see in pg_stat_activity.
    """

    def __init__(
        self,
        url: str,
        *,
        become: str | None = None,
        application_name: str = "care-collective listener",
        probe_seconds: float = PROBE_SECONDS,
        random_: random.Random | None = None,
    ) -> None:
        self._url = url
        self._settings = {"application_name": application_name} | ({} if become is None else {"role": become})
        self._probe_seconds = probe_seconds
        self._random = random_ or random.Random()  # noqa: S311  jitter is no secret
        self._subscribers: dict[str, list[tuple[Heard, Reread]]] = {}
        self._new: set[str] = set()  # channels that are not listened on yet
        self._stir = asyncio.Event()
        self._connected = False

    @property
    def connected(self) -> bool:
        """Whether notifications arrive at present."""
        return self._connected

    def subscribe(self, channel: str, heard: Heard, *, reread: Reread) -> Callable[[], None]:
        """Calls `heard` with the payload of each notification on a channel; what is returned ends that.

        `reread` is called once the channel is listened on, and after every connection that had to be made again:
        what changed before it was called may have been missed.
        """
        entry = (heard, reread)
        self._subscribers.setdefault(channel, []).append(entry)
        self._new.add(channel)
        self._stir.set()

        def end() -> None:
            # The channel itself stays: to hear one more is cheaper than to end LISTEN and begin it in a race.
            if entry in self._subscribers[channel]:
                self._subscribers[channel].remove(entry)

        return end

    async def run(self) -> None:
        """Listens for ever, through every loss of the connection; cancel it to end."""
        failures = 0
        while True:
            try:
                await self._session()
            except (
                OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError
            ) as error:  # fmt: skip
                log.warning("db.listener_away", error_type=type(error).__name__)
            finally:
                # A connection that was there comes back at once; a server that is away is asked less and less.
                failures = 0 if self._connected else failures + 1
                self._connected = False
            await asyncio.sleep(self._random.uniform(0, min(_FIRST_PAUSE * 2.0 ** min(failures, 10), _LONGEST_PAUSE)))

    async def _session(self) -> None:
        """Connects, and returns when the connection has ended."""
        connection = await asyncpg.connect(self._url, timeout=_CONNECT_SECONDS, server_settings=self._settings)
        try:
            connection.add_termination_listener(lambda _: self._stir.set())
            self._new = set(self._subscribers)
            await self._listen(connection)
            self._connected = True
            log.info("db.listener_connected")
            while not connection.is_closed():
                await self._listen(connection)
                if not await self._stirred():
                    await connection.fetchval("select 1", timeout=_CONNECT_SECONDS)
            log.warning("db.listener_lost")
        finally:
            connection.terminate()

    async def _listen(self, connection: asyncpg.Connection) -> None:
        self._stir.clear()
        while self._new:
            channel = self._new.pop()
            try:
                # Adding the same one twice to a channel is adding it once.
                await connection.add_listener(channel, self._hear)
            except BaseException:
                self._new.add(channel)
                raise
            # Only now: what is notified from here on is heard.
            for _, reread in tuple(self._subscribers[channel]):
                _call(reread)

    async def _stirred(self) -> bool:
        try:
            async with asyncio.timeout(self._probe_seconds):
                await self._stir.wait()
        except TimeoutError:
            return False
        return True

    def _hear(self, _: asyncpg.Connection, __: int, channel: str, payload: str) -> None:
        for heard, _reread in tuple(self._subscribers.get(channel, ())):
            _call(heard, payload)


def _call(subscriber: Callable[..., None], *payload: Any) -> None:  # noqa: ANN401  a hint's text, or nothing
    try:
        subscriber(*payload)
    except Exception as error:  # noqa: BLE001  one subscriber's fault must not make the others deaf
        log.error("db.subscriber_failed", error_type=type(error).__name__)
