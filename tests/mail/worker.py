"""A process that sends letters until it is killed; with a third argument until none is due. Run by test_mailer.py."""

import asyncio
import sys
from email.message import EmailMessage

from care_collective.db.call import Database
from care_collective.db.pool import make_pool
from care_collective.notifications.email import Delivery, Words, written
from care_collective.notifications.mailer import Mailer
from care_collective.operations.smtp import MailServer


def compose(delivery: Delivery) -> EmailMessage:
    """A letter that says little."""
    return written(delivery, Words("News", "News\n", "<p>News</p>"), host="care.example", now=delivery.created_at)


async def main(dsn: str, url: str, *once: str) -> None:
    """Sends letters."""
    mailer = Mailer(Database(await make_pool(dsn, size=2)), compose, MailServer(url, "care.example").connected)
    await (mailer.work() if once else mailer.run(every_seconds=0.05))


asyncio.run(main(*sys.argv[1:]))
