"""Makes the sample community of town.toml through the functions that members' calls go through.

Every write carries an idempotency key, so that a making that was broken off is taken up where it stopped.
"""

import tomllib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from importlib.resources import files
from typing import Final, Literal
from uuid import UUID

import msgspec

from care_collective.db.call import Caller, Database
from care_collective.errors import CareError, Code
from care_collective.operations import people

PASSWORD: Final = "kindness-next-door"  # noqa: S105  known to everybody: the demo listens on this machine only
DOMAIN: Final = "linden-row.example"
_FOLDER: Final = files(__package__)


class Person(msgspec.Struct, frozen=True):
    """A member of the sample community."""

    key: str
    name: str
    town: str
    words: str | None = None
    role: Literal["member", "coordinator", "operator"] = "member"
    status: Literal["pending", "approved", "rejected"] = "approved"
    reason: str | None = None
    suspended_days: int | None = None
    why: str | None = None

    @property
    def email(self) -> str:
        """Their address, under a domain that nobody can own."""
        return f"{self.key}@{DOMAIN}"


class Thread(msgspec.Struct, frozen=True):
    """A conversation; the first line opens it. `unread` is the side that has not read the last line."""

    helper: str
    engine: Literal["v1", "v2"]
    lines: list[tuple[Literal["helper", "owner"], str]]
    ending: Literal["accepted", "declined", "closed"] | None = None
    reason: str | None = None
    unread: Literal["helper", "owner"] | None = None
    orphan: bool = False


class Outcome(msgspec.Struct, frozen=True):
    """How a request ended."""

    status: Literal["completed", "cancelled", "closed"]
    reason: str | None = None


class Request(msgspec.Struct, frozen=True):
    """A help request of some hours ago, with its threads."""

    by: str
    title: str
    category: str
    hours: float
    urgency: str = "normal"
    description: str | None = None
    exchange: str | None = None
    threads: list[Thread] = []
    outcome: Outcome | None = None


class Town(msgspec.Struct, frozen=True):
    """All of town.toml."""

    slug: str
    name: str
    time_zone: str
    emergency_line: str
    people: list[Person]
    requests: list[Request]


def read_town() -> Town:
    """The sample community as it is written down."""
    return msgspec.convert(tomllib.loads((_FOLDER / "town.toml").read_text("utf-8")), Town)


class Builder:
    """Makes a town in an empty database: `owner` has the owner's rights, `app` is the pool of the web process."""

    def __init__(self, town: Town, owner: Database, app: Database) -> None:
        self._town = town
        self._owner = owner
        self._app = app
        self._users: dict[str, UUID] = {}
        self._requests: dict[int, UUID] = {}

    async def make(self, community: people.Community, *, hash_password: Callable[[str], Awaitable[str]]) -> None:
        """Makes everything. One hash serves all: they share the password that is printed."""
        secret = await hash_password(PASSWORD)
        for person in self._town.people:
            await self._join(community, person, secret)
        for number, request in enumerate(self._town.requests):
            self._requests[number] = await self._ask(community.id, number, request)
        await self._finish(community)

    async def _join(self, community: people.Community, person: Person, secret: str) -> None:
        try:
            await people.find(self._owner, community, person.email)
        except CareError:
            answer = await self._app.call(
                "care.sign_up",
                p_community_id=community.id,
                p_email=person.email,
                p_secret=secret,
                p_display_name=person.name,
                p_town=person.town,
                p_application_words=person.words,
            )
            answer.success()
        self._users[person.key] = await people.find(self._owner, community, person.email)
        if person.status != "pending":
            await people.decide(self._owner, community, person.email, person.status, person.reason)
        if person.role != "member":
            await people.give_role(self._owner, community, person.email, person.role, by="demo")

    async def _ask(self, community_id: UUID, number: int, request: Request) -> UUID:
        key = f"sample-{number}"
        owner = Caller(self._users[request.by], community_id, key)
        asked = await self._app.call(
            "public.create_help_request",
            owner,
            p_title=request.title,
            p_category=request.category,
            p_description=request.description,
            p_urgency=request.urgency,
            p_exchange_offer=request.exchange,
        )
        request_id = UUID(asked.data()["help_request_id"])
        for place, thread in enumerate(request.threads):
            helper = Caller(self._users[thread.helper], community_id, f"{key}-{place}")
            await self._talk(owner, helper, request_id, thread)
        if request.outcome is not None and request.outcome.status != "closed":
            await self._end(owner, request_id, request.outcome)
        return request_id

    async def _talk(self, owner: Caller, helper: Caller, request_id: UUID, thread: Thread) -> None:
        opened = await self._offer(helper, request_id, thread)
        if thread.orphan:
            return
        sides: dict[Literal["helper", "owner"], Caller] = {"helper": helper, "owner": owner}
        for seq, (side, content) in enumerate(thread.lines[1:], start=1):
            writer = replace(sides[side], idempotency_key=f"{helper.idempotency_key}-{seq}")
            await self._mark(writer, opened, seq - 1)  # people read before they answer
            sent = await self._app.call(
                "public.send_message_v2",
                writer,
                p_conversation_id=opened,
                p_sender_id=writer.user_id,
                p_content=content,
            )
            sent.success()
        for side, reader in sides.items():
            if side != thread.unread:
                await self._mark(reader, opened, len(thread.lines) - 1)
        await self._settle(owner, helper, opened, thread)

    async def _offer(self, helper: Caller, request_id: UUID, thread: Thread) -> UUID:
        words = thread.lines[0][1]
        if thread.engine == "v2":
            answer = await self._app.call(
                "public.create_conversation_atomic",
                helper,
                p_help_request_id=request_id,
                p_helper_id=helper.user_id,
                p_initial_message=words,
            )
            return UUID(answer.data()["conversation_id"])
        first = (
            await self._app.call(
                "public.legacy_open_conversation", helper, p_help_request_id=request_id, p_initial_message=words
            )
        ).data()
        opened = UUID(first["conversation_id"])
        if "recipient_id" in first and not thread.orphan:
            pair = {"p_conversation_id": opened, "p_recipient_id": UUID(first["recipient_id"])}
            (await self._app.call("public.legacy_add_participants", helper, **pair)).success()
            (await self._app.call("public.legacy_write_first_message", helper, **pair, p_content=words)).success()
        return opened

    async def _mark(self, reader: Caller, conversation_id: UUID, seq: int) -> None:
        keyless = replace(reader, idempotency_key=None)
        answer = await self._app.call("public.mark_read", keyless, p_conversation_id=conversation_id, p_seq=seq)
        answer.success()

    async def _settle(self, owner: Caller, helper: Caller, conversation_id: UUID, thread: Thread) -> None:
        conversation = {"p_conversation_id": conversation_id}
        match thread.ending:
            case "accepted":
                await self._move("public.accept_offer", owner, **conversation)
            case "declined":
                await self._move("public.decline_offer", owner, **conversation, p_reason=thread.reason)
            case "closed":
                await self._move("public.close_conversation", helper, **conversation)

    async def _end(self, owner: Caller, request_id: UUID, outcome: Outcome) -> None:
        if outcome.status == "completed":
            await self._move("public.complete_help_request", owner, p_help_request_id=request_id)
        else:
            await self._move("public.cancel_help_request", owner, p_help_request_id=request_id, p_reason=outcome.reason)

    async def _move(self, function: str, caller: Caller, **arguments: object) -> None:
        refusal = (await self._app.call(function, replace(caller, idempotency_key=None), **arguments)).refusal()
        # Moved by a making that was broken off.
        if refusal is not None and refusal.code is not Code.CONFLICT:
            raise refusal

    async def _finish(self, community: people.Community) -> None:
        requests = list(enumerate(self._town.requests))
        sample = {
            "slug": community.slug,
            "requests": [{"id": self._requests[number], "hours": request.hours} for number, request in requests],
            "closed": [
                {"id": self._requests[number], "reason": request.outcome.reason}
                for number, request in requests
                if request.outcome is not None and request.outcome.status == "closed"
            ],
            "suspended": [
                {"user_id": self._users[person.key], "days": person.suspended_days, "why": person.why}
                for person in self._town.people
                if person.suspended_days is not None
            ],
        }
        async with self._owner.pool.acquire() as connection, connection.transaction():
            await connection.execute("select set_config('care.sample', $1, true)", msgspec.json.encode(sample).decode())
            await connection.execute((_FOLDER / "finish.sql").read_text("utf-8"))
