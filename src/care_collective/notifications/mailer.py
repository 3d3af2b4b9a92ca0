"""Sends members' letters: plans what is due, leases it, hands it to the mail server and notes what came of it.

At least once is the promise: a process that dies between sending and noting it is followed by another, which sends
again under the same Message-ID. push.py leases its own channel.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Final, Protocol

import structlog

from care_collective.db.call import Database
from care_collective.notifications.email import Delivery
from care_collective.notifications.leases import POLL_SECONDS, Clock, Leases, keep_at
from care_collective.operations.smtp import NotSent, address_of

log = structlog.get_logger("care_collective.notifications")

CHANNEL: Final = "email"
PLANNED: Final = 200
LETTER_SECONDS: Final = 15.0
# No letter is begun later, so that it ends within the lease: connecting and sending have their own limits.
_BATCH_SECONDS: Final = 25.0


class Post(Protocol):
    """What takes messages: an open line to the mail server, or the console in its place."""

    async def send(self, message: EmailMessage, recipients: Sequence[Address]) -> None:
        """Takes one message. Errors: NotSent."""
        ...


Connect = Callable[[], AbstractAsyncContextManager[Post]]
Compose = Callable[[Delivery], EmailMessage]


class NoServer(NotSent):
    """There is no mail server, and the letter is nobody's to send later: it would tell what is old by then."""


class Console:
    """In place of a mail server: says in the log that a letter would have gone out, to nobody by name."""

    async def send(self, message: EmailMessage, recipients: Sequence[Address]) -> None:
        """Logs one line. Errors: NoServer, always: it is not sent."""
        why = "no mail server is set (CARE_SMTP_URL)"
        log.info("mail.would_send", message_id=str(message["Message-ID"]), subject=str(message["Subject"]), why=why)
        raise NoServer("no_mail_server", for_good=True)


@asynccontextmanager
async def console() -> AsyncIterator[Post]:
    """The console, which is always open."""
    yield Console()


class Mailer:
    """Sends letters for ever; nodes share them. `counts`: letters sent, failed (to be tried again), dead, and dropped
    for want of a mail server.

    `push`: a Pusher is at work beside it, and what is planned may be for that.
    `clock` stands in for the database's own; `random_` draws the jitter of retries.
    """

    def __init__(
        self,
        database: Database,
        compose: Compose,
        connect: Connect,
        *,
        push: bool = False,
        clock: Clock | None = None,
        random_: random.Random | None = None,
    ) -> None:
        self._database = database
        self._leases = Leases(database, CHANNEL, Delivery, clock=clock, random_=random_)
        self._compose = compose
        self._connect = connect
        self._push = push

    @property
    def counts(self) -> Counter[str]:
        """What came of the letters of this process."""
        return self._leases.counts

    async def run(self, *, every_seconds: float = POLL_SECONDS) -> None:
        """Sends what is due, again and again; a database that is away is waited for. Cancel it to end."""
        await keep_at(self.work, "mail", every_seconds=every_seconds)

    async def work(self) -> None:
        """Plans and sends until nothing is due. Errors: CareError; what was leased is free again after a minute."""
        now = self._leases.now
        while await self._database.value("care.plan_deliveries", p_limit=PLANNED, p_push=self._push, **now()):
            pass
        async for letters in self._leases.batches():
            await self._send(letters)

    async def _send(self, letters: Sequence[Delivery]) -> None:
        """Sends a batch over as few connections as the server allows."""
        stop = time.monotonic() + _BATCH_SECONDS
        async with AsyncExitStack() as lines:
            post: Post | None = None
            away: NotSent | None = None
            for letter in letters:
                if time.monotonic() > stop:
                    await self._settle(letter, "release", None)
                    continue
                if away is None and post is None:
                    try:
                        post = await lines.enter_async_context(self._connect())
                    except NotSent as error:
                        away = error
                if away is not None or post is None:
                    # Nobody answers there: the others of the batch would wait for it one after the other.
                    await self._settle(letter, "retry", away.code if away else None)
                    continue
                if not await self._send_one(post, letter):
                    await lines.aclose()
                    post = None

    async def _send_one(self, post: Post, letter: Delivery) -> bool:
        """Sends one letter and notes what came of it; whether the line is good for another."""
        try:
            recipients = [address_of(letter.address)]
            message = self._compose(letter)
        except (ValueError, IndexError, MessageError) as error:
            # An address that no header can hold. The error's own words would repeat it.
            log.error("mail.unwritable", delivery_id=str(letter.id), error_type=type(error).__name__)
            await self._settle(letter, "refused", "unwritable")
            return True
        except Exception as error:  # noqa: BLE001  one letter's fault keeps no other back
            log.error("mail.unwritable", delivery_id=str(letter.id), error_type=type(error).__name__)
            await self._settle(letter, "retry", "fault")
            return True
        try:
            async with asyncio.timeout(LETTER_SECONDS):
                await post.send(message, recipients)
        except TimeoutError:
            await self._settle(letter, "retry", "timed_out")
            return False
        except NoServer as error:
            await self._settle(letter, "drop", error.code)
            return True
        except NotSent as error:
            await self._settle(letter, "refused" if error.for_good else "retry", error.code)
            return not error.line_lost
        except Exception as error:  # noqa: BLE001  untold it would come first again and again, and stop what follows it
            log.error("mail.unwritable", delivery_id=str(letter.id), error_type=type(error).__name__)
            await self._settle(letter, "retry", "fault")
            return False
        await self._settle(letter, "sent", None)
        return True

    async def _settle(self, letter: Delivery, outcome: str, code: str | None) -> None:
        state = await self._leases.settle("care.settle_delivery", letter, outcome, code)
        if outcome != "release" and state in ("waiting", "dead"):
            tell = log.error if state == "dead" else log.warning
            tell("mail.not_sent", delivery_id=str(letter.id), kind=letter.kind, code=code, given_up=state == "dead")
