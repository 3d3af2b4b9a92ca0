"""Hints by way of a Redis, in place of NOTIFY: for many nodes, whose every NOTIFY would pass through one database.

A Redis remembers nothing. So every subscription that is made, the first and each after a loss, lets all streams read
anew, and `connected` says whether to tell by it at all: who is not connected tells by NOTIFY, which every node hears.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import structlog

from care_collective.errors import SettingsError

log = structlog.get_logger("care_collective.notifications")

# Seconds. The pause before attempt n is drawn from 0 to FIRST * 2 ** n: nodes do not come back in step.
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_ANSWER_SECONDS: Final = 2.0
# A connection whose other end has vanished without a word is found out by asking.
PROBE_SECONDS: Final = 5.0
_REFUSED: Final = (
    "CARE_REDIS_URL: this Redis refuses the user name or the password, or what they may do. It takes PUBLISH and "
    "SUBSCRIBE on care_hints channels. Correct the URL, in it special characters as %XX."
)


class Fanout:
    """Tells all nodes by one channel of a Redis. `run` has to be running for `connected` to become true.

    The number of the database in the URL is part of the channel's name: deployments that share a Redis differ in it.
    """

    def __init__(self, url: str, *, probe_seconds: float = PROBE_SECONDS, random_: random.Random | None = None) -> None:
        # Here, since who has no Redis need not have the library's weight.
        import redis.asyncio
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        self._errors = (redis.RedisError, OSError, TimeoutError)
        self._refusals = (redis.AuthenticationError, redis.exceptions.NoPermissionError)
        self._client: Any = redis.asyncio.Redis.from_url(
            url,
            socket_timeout=_ANSWER_SECONDS,
            socket_connect_timeout=_ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),  # what is lost has to be known here
        )
        self._channel = f"care_hints:{urlsplit(url).path.strip('/') or '0'}"
        self._probe_seconds = probe_seconds
        self._random = random_ or random.Random()  # noqa: S311  jitter is no secret
        self._subscribers: list[tuple[Callable[[str], None], Callable[[], None]]] = []
        self._connected = False

    @property
    def connected(self) -> bool:
        """Whether this node hears by it at present, as far as is known."""
        return self._connected

    def subscribe(self, heard: Callable[[str], None], *, reread: Callable[[], None]) -> None:
        """Calls `heard` with each hint, and `reread` whenever hints may have been missed. Before `run`."""
        self._subscribers.append((heard, reread))

    async def prove(self) -> None:
        """Asks the Redis once. Errors: SettingsError where it refuses us; one that is away may come back."""
        try:
            await self._client.ping()
        except self._refusals as error:
            raise SettingsError(_REFUSED) from error
        except self._errors as error:
            log.warning("notifications.redis_away", error_type=type(error).__name__)

    async def publish(self, hints: Sequence[str]) -> bool:
        """Tells all nodes, and says whether the Redis took all of it. False: tell it by NOTIFY."""
        if not self._connected:
            return False
        try:
            async with self._client.pipeline(transaction=False) as pipe:
                for hint in hints:
                    pipe.publish(self._channel, hint)
                await pipe.execute()
        except self._errors as error:
            # The subscription finds out by itself, later: until then nothing waits for a Redis that is away.
            self._connected = False
            log.warning("notifications.redis_lost", error_type=type(error).__name__)
            return False
        return True

    async def run(self) -> None:
        """Listens for ever, through every loss of the connection; cancel it to end."""
        failures = 0
        try:
            while True:
                try:
                    await self._session()
                except self._refusals as error:
                    log.error("notifications.redis_refused", words=_REFUSED, error_type=type(error).__name__)
                except self._errors as error:
                    log.warning("notifications.redis_lost", error_type=type(error).__name__)
                failures = 0 if self._connected else failures + 1
                self._connected = False
                pause = min(_FIRST_PAUSE * 2.0 ** min(failures, 10), _LONGEST_PAUSE)
                await asyncio.sleep(self._random.uniform(0, pause))
        finally:
            self._connected = False
            await self._client.aclose()

    async def _session(self) -> None:
        """Subscribes and hears until the connection is lost, which raises."""
        # Those that publishing has kept are lost as well: the first to use one would be told so, and go by NOTIFY.
        await self._client.connection_pool.disconnect(inuse_connections=False)
        async with self._client.pubsub() as ear:
            await ear.subscribe(self._channel)
            asked = False
            while True:
                told = await ear.get_message(timeout=_ANSWER_SECONDS if asked else self._probe_seconds)
                if told is None and asked:
                    raise TimeoutError
                if told is None:
                    await ear.ping()
                    asked = True
                    continue
                asked, self._connected = False, True
                if told["type"] == "subscribe":  # also where the library has connected anew by itself
                    log.info("notifications.redis_connected")
                    for _, reread in self._subscribers:
                        reread()
                elif told["type"] == "message":
                    for heard, _ in self._subscribers:
                        heard(told["data"].decode(errors="replace"))
