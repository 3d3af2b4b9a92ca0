"""Sends pushes to members' browsers: leases what mailer.py has planned for them and notes what came of it.

At least once, as letters; a second one takes the first one's place on the screen. What reaches no browser becomes a
letter (care.settle_push).
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Final
from uuid import UUID

import msgspec
import structlog

from care_collective.db.call import Answer, Caller, Database
from care_collective.notifications.email import Delivery
from care_collective.notifications.leases import POLL_SECONDS, Clock, Leases, keep_at
from care_collective.operations.webpush import NotPushed, PushServices, Subscription

log = structlog.get_logger("care_collective.notifications")

CHANNEL: Final = "push"
# At once, of a batch: all of it ends within the lease, though each waits for as long as it may.
_AT_ONCE: Final = 5


class Push(Delivery, frozen=True):
    """What care.lease_deliveries answers of one push."""

    urgent: bool = False
    subscriptions: tuple[Subscription, ...] = ()


class Notice(msgspec.Struct, frozen=True):
    """What push-worker.js shows. `tag`: the newest of one alone stands on the screen. `path` is where it leads."""

    title: str
    body: str
    path: str
    tag: str
    lang: str


Compose = Callable[[Push], Notice]


class Browsers:
    """The caller's own browsers that they are told by. Rights and rules are in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, caller: Caller) -> Answer:
        """Which there are, by the digests of their endpoints."""
        return await self._database.call("public.list_push_subscriptions", caller)

    async def add(self, caller: Caller, endpoint: str, p256dh: str, auth: str) -> Answer:
        """One more. Errors: CareError `validation_error` by field."""
        return await self._database.call(
            "public.add_push_subscription", caller, p_endpoint=endpoint, p_p256dh=p256dh, p_auth=auth
        )

    async def remove(self, caller: Caller, endpoint: str) -> Answer:
        """One less, where it was one of theirs."""
        return await self._database.call("public.remove_push_subscription", caller, p_endpoint=endpoint)


class Pusher:
    """Sends pushes for ever; nodes share them. `counts`: pushes sent, failed (tried again) and made letters.

    `clock` stands in for the database's own; `random_` draws the jitter of retries.
    """

    def __init__(
        self,
        database: Database,
        compose: Compose,
        services: PushServices,
        *,
        clock: Clock | None = None,
        random_: random.Random | None = None,
    ) -> None:
        self.services = services
        self._leases = Leases(database, CHANNEL, Push, clock=clock, random_=random_)
        self._compose = compose

    @property
    def counts(self) -> Counter[str]:
        """What came of the pushes of this process."""
        return self._leases.counts

    async def run(self, *, every_seconds: float = POLL_SECONDS) -> None:
        """Sends what is due, again and again; a database that is away is waited for. Cancel it to end."""
        await keep_at(self.work, "push", every_seconds=every_seconds)

    async def work(self) -> None:
        """Sends until nothing is due. Errors: CareError; what was leased is free again after a minute."""
        async for pushes in self._leases.batches():
            turns = asyncio.Semaphore(_AT_ONCE)
            await asyncio.gather(*(self._send(push, turns) for push in pushes))

    async def _send(self, push: Push, turns: asyncio.Semaphore) -> None:
        """Sends one push to all of its member's browsers and notes what came of it."""
        async with turns:
            try:
                notice = self._compose(push)
            except Exception as error:  # noqa: BLE001  one push's fault keeps no other back
                log.error("push.unwritable", delivery_id=str(push.id), error_type=type(error).__name__)
                await self._settle(push, "refused", "unwritable", [], [])
                return
            payload = msgspec.json.encode(notice)
            failures = await asyncio.gather(*(self._send_to(to, payload, notice, push) for to in push.subscriptions))
            outcomes = list(zip(push.subscriptions, failures, strict=True))
            reached = [to.id for to, failure in outcomes if failure is None]
            gone = [to.id for to, failure in outcomes if failure is not None and failure.gone]
            passing = [failure for failure in failures if failure is not None and not failure.for_good]
            if reached:
                await self._settle(push, "sent", None, reached, gone)
            elif passing:
                await self._settle(push, "retry", passing[0].code, [], gone)
            else:
                code = next((failure.code for failure in failures if failure is not None), "no_browser")
                await self._settle(push, "refused", code, [], gone)

    async def _send_to(self, to: Subscription, payload: bytes, notice: Notice, push: Push) -> NotPushed | None:
        """What one browser's push service did not take, or None."""
        try:
            await self.services.send(to, payload, topic=notice.tag, urgent=push.urgent)
        except NotPushed as failure:
            return failure
        except Exception as error:  # noqa: BLE001  a library's fault with one browser's keys keeps no other back
            log.error("push.fault_of_one", delivery_id=str(push.id), error_type=type(error).__name__)
            return NotPushed("fault", for_good=True)
        return None

    async def _settle(self, push: Push, outcome: str, code: str | None, reached: list[UUID], gone: list[UUID]) -> None:
        state = await self._leases.settle("care.settle_push", push, outcome, code, p_reached=reached, p_gone=gone)
        if outcome != "sent":
            log.info("push.not_sent", delivery_id=str(push.id), code=code, becomes=state)
