"""Deliveries of one channel under a lease: in batches, and what came of each. mailer.py and push.py send them.

At least once is the promise: a lease that runs out is another's. Knows no mail server and no browser.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

import msgspec
import structlog

from care_collective.db.call import Database
from care_collective.errors import CareError, Code
from care_collective.notifications.email import Delivery

log = structlog.get_logger("care_collective.notifications")

POLL_SECONDS: Final = 5.0
BATCH: Final = 20
LEASE_SECONDS: Final = 60
_AGAIN_SECONDS: Final = 1.0

Clock = Callable[[], datetime]
D = TypeVar("D", bound=Delivery)


class _Leased(msgspec.Struct, Generic[D], frozen=True):
    letters: list[D]
    more: bool


class Leases(Generic[D]):
    """The deliveries of a channel, shared by all nodes. `counts`: what came of those of this one, by outcome.

    `shape` is what one is read as. `clock` stands in for the database's own; `random_` draws the jitter of retries.
    """

    def __init__(
        self,
        database: Database,
        channel: str,
        shape: type[D],
        *,
        clock: Clock | None = None,
        random_: random.Random | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._database = database
        self._channel = channel
        self._decode = msgspec.json.Decoder(_Leased[shape]).decode  # type: ignore[valid-type]
        self._clock = clock
        self._random = random_ or random.Random()  # noqa: S311  jitter is no secret
        self._until = 0.0

    async def batches(self) -> AsyncIterator[list[D]]:
        """What is due, leased for a minute, until nothing is. Errors: CareError."""
        more = True
        while more:
            text = await self._database.value(
                "care.lease_deliveries",
                p_channel=self._channel,
                p_limit=BATCH,
                p_lease_seconds=LEASE_SECONDS,
                **self.now(),
            )
            self._until = time.monotonic() + LEASE_SECONDS
            leased = self._decode(text)
            yield leased.letters
            more = leased.more

    async def settle(
        self,
        function: str,
        delivery: Delivery,
        outcome: str,
        code: str | None,
        **more: Any,  # noqa: ANN401  arguments of the function
    ) -> str | None:
        """Notes what came of a delivery; its state, None where it was settled before, as after a lease that ran out.

        `function` settles those of this channel; `outcome`, `code` and `more` are as it takes them.
        What was sent would be sent again: for as long as the lease holds, a database that is away is waited for.
        Errors: CareError.
        """
        while True:
            try:
                state: str | None = await self._database.value(
                    function,
                    p_community_id=delivery.community.id,
                    p_id=delivery.id,
                    p_outcome=outcome,
                    p_error=code,
                    p_jitter=self._random.random(),
                    **more,
                    **self.now(),
                )
                break
            except CareError as error:
                lasting = time.monotonic() + _AGAIN_SECONDS < self._until
                if outcome != "sent" or error.code is not Code.UNAVAILABLE or not lasting:
                    raise
            await asyncio.sleep(_AGAIN_SECONDS)
        if state is not None and outcome != "release":
            self.counts["failed" if state == "waiting" else state] += 1
        return state

    def now(self) -> dict[str, Any]:
        """The argument by which functions are told the time, where a clock stands in for the database's."""
        return {} if self._clock is None else {"p_now": self._clock()}


async def keep_at(work: Callable[[], Awaitable[None]], name: str, *, every_seconds: float) -> None:
    """Does the work again and again, through every fault; a database that is away is waited for. Cancel it to end.

    `name` begins the lines of the log.
    """
    while True:
        try:
            await work()
        except CareError as error:
            log.warning(f"{name}.cannot_look", error_code=str(error.code))
        except Exception:
            log.exception(f"{name}.fault")  # an ended task would tell nobody any more
        await asyncio.sleep(every_seconds)
