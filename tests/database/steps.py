"""What database tests share: the catalogue's list of functions, plausible arguments, both engines, whole contents."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from care_collective.db.call import Answer
from harness import FIRST_WORDS, Care, Person, Town

CLIENT_ROLES = ("authenticated", "care_app")
# The parameter that names the caller, in the functions whose signatures are fixed.
OWN_ID = {"p_helper_id", "p_sender_id", "p_user_id"}
# Where p_user_id is somebody else's.
OF_ANOTHER = {"block_user", "unblock_user"}


@dataclass(frozen=True, slots=True)
class Function:
    """A function offered to clients, as the catalogue has it."""

    name: str
    arguments: tuple[str, ...]
    writes: bool

    @property
    def names_caller(self) -> bool:
        """Whether it takes the caller's own id."""
        return bool(OWN_ID & set(self.arguments)) and self.name not in OF_ANOTHER


async def offered(care: Care, role: str = "care_app") -> list[Function]:
    """Every function of schema public that a role may execute, so that a new one cannot be forgotten.

    What `authenticated` may is offered to clients; `care_app` may take V1's three steps besides.
    """
    rows = await care.owner.fetch(
        "select p.proname, coalesce(p.proargnames[:p.pronargs], '{}') as names, p.provolatile = 'v' as writes "
        "from pg_proc p where p.pronamespace = 'public'::regnamespace and p.proowner = 'care_owner'::regrole "
        "and has_function_privilege($1, p.oid, 'execute') order by p.proname",
        role,
    )
    return [Function(row["proname"], tuple(row["names"]), row["writes"]) for row in rows]


@dataclass(frozen=True, slots=True)
class Stage:
    """Two people, a request with a conversation on it, and a second request that takes an offer."""

    town: Town
    owner: Person
    helper: Person
    request: UUID
    conversation: UUID
    open_request: UUID
    applicant: Person
    notification: UUID  # that the owner was told of the offer

    def values(self, me: UUID) -> dict[str, Any]:
        """A value for every parameter, with which the call would succeed or be refused for its state alone."""
        return {
            "p_help_request_id": self.open_request, "p_conversation_id": self.conversation, "p_helper_id": me,
            "p_sender_id": me, "p_user_id": me, "p_recipient_id": self.owner.user_id, "p_initial_message": FIRST_WORDS,
            "p_content": "Shall I come at ten?", "p_title": "A lift to the doctor", "p_category": "other",
            "p_description": "On Monday", "p_urgency": "normal", "p_exchange_offer": None, "p_reason": "Thank you",
            "p_before": None, "p_after": None, "p_limit": 10, "p_cursor": None, "p_filter": "all",
            "p_status": "taking_offers", "p_search": None, "p_mine": False, "p_seq": 0, "p_code": "server_error",
            "p_reference": "0123456789abcdef", "p_words": "It did not open",
            "p_waiting": True, "p_applicant_id": self.applicant.user_id, "p_decision": "approve",
            "p_email": "daily", "p_quiet_from": "22:00", "p_quiet_to": "07:30", "p_offers_paused": False,
            "p_locale": "es", "p_time_zone": "Europe/Lisbon", "p_display_name": "Hal Moss", "p_town": None,
            "p_notification_id": self.notification,
            "p_until": datetime(2100, 1, 1, tzinfo=UTC), "p_archived": True,
            "p_confirm": "no",
            "p_endpoint": "https://push.example/one", "p_p256dh": f"B{'A' * 86}", "p_auth": "A" * 22,
        }  # fmt: skip

    def named(self, function: Function, me: UUID) -> dict[str, Any]:
        """The arguments of one call."""
        values = self.values(me)
        if function.name in OF_ANOTHER:
            values["p_user_id"] = (self.helper if me == self.owner.user_id else self.owner).user_id
        return {name: values[name] for name in function.arguments}


async def stage(town: Town) -> Stage:
    """A stage in a town."""
    owner, helper = await town.member("Olga"), await town.member("Hal")
    request, open_request = await town.request(owner), await town.request(owner, title="A form to fill in")
    applicant = await town.member("Nia", status="pending")
    opened = await helper.offer_v2(request)
    (told,) = (await owner.call("list_notifications"))["notifications"]
    return Stage(
        town, owner, helper, request, UUID(opened["conversation_id"]), open_request, applicant, UUID(told["id"])
    )


@asynccontextmanager
async def claiming(connection: asyncpg.Connection, claims: str | None, headers: str = "") -> AsyncIterator[None]:
    """A transaction with claims exactly as given, None for a session that never set any; it commits."""
    async with connection.transaction():
        if claims is not None:
            await connection.execute("select set_config('request.jwt.claims', $1, true)", claims)
        await connection.execute("select set_config('request.headers', $1, true)", headers)
        yield


async def called(connection: asyncpg.Connection, function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Calls with the claims that are set."""
    places = ", ".join(f"{name} => ${place}" for place, name in enumerate(arguments, start=1))
    text = await connection.fetchval(f"select public.{function}({places})", *arguments.values())
    return json.loads(text)  # type: ignore[no-any-return]


async def raw_call(
    connection: asyncpg.Connection, function: str, arguments: dict[str, Any], claims: str | None, headers: str = ""
) -> dict[str, Any]:
    """Calls with claims exactly as given, in a transaction of its own."""
    async with claiming(connection, claims, headers):
        return await called(connection, function, arguments)


async def contents(care: Care) -> dict[str, str]:
    """A hash of every row of every table, by table."""
    tables = await care.owner.fetch(
        "select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname in ('public', 'care')"
    )
    rows = await care.owner.fetch(
        " union all ".join(
            f"select '{t['name']}', coalesce(md5(string_agg(r::text, '|' order by r::text)), '') from {t['name']} r"
            for t in tables
        )
    )
    return {row[0]: row[1] for row in rows}


async def legacy_steps(helper: Person, request: UUID, words: str = FIRST_WORDS, *, steps: int = 3,
                       key: str | None = None) -> dict[str, Any]:  # fmt: skip
    """An opening in V1 that stops after so many of its three steps; the last answer."""
    answer = await helper.call("legacy_open_conversation", key=key, help_request_id=request, initial_message=words)
    if "recipient_id" not in answer:
        return answer
    step = {"conversation_id": UUID(answer["conversation_id"]), "recipient_id": UUID(answer["recipient_id"])}
    if steps > 1:
        second = await helper.call("legacy_add_participants", key=key, **step)
        assert second == {"success": True}
    if steps > 2:
        return await helper.call("legacy_write_first_message", key=key, **step, content=words)
    return answer


@dataclass(frozen=True, slots=True)
class Engine:
    """One of the two engines, through the SQL functions alone."""

    version: str

    async def offer(self, helper: Person, request: UUID, words: str = FIRST_WORDS, *, key: str | None = None
                    ) -> dict[str, Any]:  # fmt: skip
        """Offers help, with the answer."""
        if self.version == "v2":
            return await helper.offer_v2(request, words, key=key)
        return await legacy_steps(helper, request, words, key=key)

    async def opened(self, helper: Person, request: UUID) -> UUID:
        """Offers help, which must succeed; the conversation's id."""
        answer = await self.offer(helper, request)
        assert answer["success"], answer
        return UUID(answer["conversation_id"])

    async def first(self, helper: Person, request: UUID, words: str = FIRST_WORDS, *, key: str | None = None) -> Answer:
        """The first call of an offer, which has all its checks, with its headers."""
        if self.version == "v2":
            return await helper.answer("create_conversation_atomic", key=key, help_request_id=request,
                                       helper_id=helper.user_id, initial_message=words)  # fmt: skip
        return await helper.answer("legacy_open_conversation", key=key, help_request_id=request, initial_message=words)

    @property
    def conversations(self) -> str:
        """The table of its conversations."""
        return "public.conversations_v2" if self.version == "v2" else "public.conversations"


V1, V2 = Engine("v1"), Engine("v2")


def code(answer: dict[str, Any]) -> str:
    """What was answered, in short: success, the code, or the code with its reason."""
    if answer["success"]:
        return "success"
    return f"{answer['error']}/{answer['reason']}" if "reason" in answer else str(answer["error"])


def nowhere() -> UUID:
    """An id that nothing has."""
    return uuid4()
