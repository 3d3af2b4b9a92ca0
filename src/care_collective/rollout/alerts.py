"""Tells operators once what happened to the flag: by e-mail, by a POST to a URL, and always by a line in the log.

At least once is the promise: a process that dies between sending and noting it sends again, under the same id.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any, Final
from uuid import UUID

import httpx
import msgspec
import structlog

from care_collective.db.call import Database
from care_collective.errors import CareError
from care_collective.operations.smtp import MailServer, address_of, mail_host

log = structlog.get_logger("care_collective.rollout")

LOOK_SECONDS: Final = 5.0
SEND_SECONDS: Final = 10.0
_FIRST_PAUSE: Final = 10
_LONGEST_PAUSE: Final = 600

_SUBJECTS: Final[Mapping[str, str]] = {
    "trip": "V2 was rolled back by the guard",
    "kill": "V2 was switched off by {actor}",
    "warn": "A warning about V2",
    "resume": "V2 goes on at {to_stage}, says {actor}",
}
_CONSEQUENCES: Final[Mapping[str, str]] = {
    "trip": "New conversations open in V1 from now on; those of V2 go on. It stays so until a person resumes.",
    "kill": "New conversations open in V1 from now on; those of V2 go on. It stays so until a person resumes.",
    "warn": "Nothing was changed: new conversations open as before.",
    "resume": "New conversations open by the stage {to_stage}.",
}
_PAUSED: Final = (
    "New offers are paused from now on, as V1 is retired; conversations go on. It stays so until a person resumes."
)


class Change(msgspec.Struct, frozen=True):
    """A row of the flag's history that operators are to be told. `told_by`: the channels that have told it.

    `retired`: V1 is, so that off means paused.
    """

    id: UUID
    flag: str
    at: datetime
    actor: str
    action: str
    words: str
    from_stage: str | None = None
    to_stage: str | None = None
    why: str | None = None
    numbers: dict[str, Any] | None = None
    told_by: tuple[str, ...] = ()
    tries: int = 1
    retired: bool = False

    def subject(self) -> str:
        """What happened, in one line."""
        return _SUBJECTS[self.action].format(actor=self.actor, to_stage=self.to_stage)

    def consequence(self) -> str:
        """What that means for who offers help now."""
        if self.retired and self.action in ("trip", "kill"):
            return _PAUSED
        return _CONSEQUENCES[self.action].format(to_stage=self.to_stage)

    def text(self, base_url: str) -> str:
        """The whole message in plain words."""
        at = self.at.astimezone(UTC).isoformat(sep=" ", timespec="seconds").replace("+00:00", " UTC")
        why = f" ({self.why})" if self.why else ""
        return (
            f"{self.subject()}.\n\nWhen: {at}\nBy: {self.actor}\nWhy: {self.words}{why}\n\n{self.consequence()}\n\n"
            f"Reference: {self.id}\nSite: {base_url}\n"
            "More on the command line: care-collective rollout status, care-collective rollout history\n"
        )


class _Untold(msgspec.Struct, frozen=True):
    changes: list[Change]
    operators: list[str]
    waiting: int


Sender = Callable[[Change, Sequence[str]], Awaitable[None]]
"""Tells one change to the operators' addresses. Any exception says that it is to be tried again."""


class Alerts:
    """Tells every change by every channel. `senders` are the channels by name."""

    def __init__(self, database: Database, senders: Mapping[str, Sender]) -> None:
        self._database = database
        self._senders = senders
        self._waiting = 0

    async def tell_for_ever(self, *, every_seconds: float = LOOK_SECONDS) -> None:
        """Tells what there is to tell, again and again; a database that is away is waited for."""
        while True:
            try:
                await self.tell()
            except CareError as error:
                log.warning("alerts.cannot_look", error_code=str(error.code))
            except Exception:
                log.exception("alerts.fault")  # an ended task would tell nobody anything any more
            await asyncio.sleep(every_seconds)

    @property
    def not_sent(self) -> int:
        """How many changes were tried and not told by every channel when this node last looked."""
        return self._waiting

    async def tell(self) -> int:
        """Tells what nobody has told and no other node is telling; how many changes that were. Errors: CareError."""
        untold = msgspec.json.decode(await self._database.value("care.take_untold"), type=_Untold)
        self._waiting = untold.waiting
        for change in untold.changes:
            self._waiting += not await self._tell_one(change, untold.operators)
        return len(untold.changes)

    async def _tell_one(self, change: Change, operators: Sequence[str]) -> bool:
        told, failed = list(change.told_by), []
        for name, send in self._senders.items():
            if name in told:
                continue
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    await send(change, operators)
            except Exception as error:  # noqa: BLE001  whatever a server does, the other channels are tried
                log.error("alerts.not_sent", channel=name, change_id=str(change.id), error_type=type(error).__name__)
                failed.append(name)
            else:
                told.append(name)
        await self._database.value(
            "care.keep_told",
            p_id=change.id,
            p_told_by=told,
            p_done=not failed,
            p_again_seconds=min(_FIRST_PAUSE * 2 ** min(change.tries - 1, 10), _LONGEST_PAUSE),
        )
        return not failed


def make_senders(
    *, smtp_url: str | None, alert_url: str | None, base_url: str, outbound: httpx.AsyncClient
) -> dict[str, Sender]:
    """The channels of a deployment: the log always, e-mail and the URL where they are set."""
    senders: dict[str, Sender] = {"log": _to_log}
    if smtp_url is not None:
        senders["email"] = email_sender(smtp_url, base_url=base_url)
    if alert_url is not None:
        senders["url"] = url_sender(alert_url, base_url=base_url, outbound=outbound)
    return senders


async def _to_log(change: Change, operators: Sequence[str]) -> None:
    log.warning(
        "rollout.alert",
        action=change.action,
        subject=change.subject(),
        words=change.words,
        why=change.why,
        actor=change.actor,
        change_id=str(change.id),
        operators=len(operators),
    )


def email_sender(smtp_url: str, *, base_url: str) -> Sender:
    """Sends one plain-text message to all operators by the mail server at a URL (operations/smtp.py)."""
    host = mail_host(base_url)
    server = MailServer(smtp_url, host)

    async def send(change: Change, operators: Sequence[str]) -> None:
        if not operators:
            return
        recipients = [address_of(operator) for operator in operators]
        message = EmailMessage()
        message["From"] = f"Care Collective <care-collective@{host}>"
        message["To"] = recipients
        message["Subject"] = change.subject()
        message["Date"] = format_datetime(change.at)
        message["Message-ID"] = f"<rollout-{change.id}@{host}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(change.text(base_url))
        async with server.connected() as line:
            await line.send(message, recipients)

    return send


def url_sender(alert_url: str, *, base_url: str, outbound: httpx.AsyncClient) -> Sender:
    """Posts one JSON object (docs/guard.md); any answer but 2xx is tried again, with the same Idempotency-Key."""

    async def send(change: Change, operators: Sequence[str]) -> None:
        body = {
            "id": change.id,
            "event": f"rollout.{change.action}",
            "flag": change.flag,
            "at": change.at,
            "actor": change.actor,
            "why": change.why,
            "words": change.words,
            "numbers": change.numbers or {},
            "from_stage": change.from_stage,
            "to_stage": change.to_stage,
            "subject": change.subject(),
            "consequence": change.consequence(),
            "text": change.text(base_url),
            "site": base_url,
        }
        headers = {"Content-Type": "application/json", "Idempotency-Key": str(change.id)}
        answer = await outbound.post(alert_url, content=msgspec.json.encode(body), headers=headers)
        answer.raise_for_status()
        if not answer.is_success:
            raise httpx.HTTPStatusError("not accepted", request=answer.request, response=answer)

    return send
