"""The facade as tests of the engines use it: held on one engine, or with a flag that a test moves."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any
from uuid import UUID

import asyncpg

from care_collective.db.call import Database
from care_collective.messaging.models import Result, Version
from care_collective.messaging.service import Messaging
from care_collective.rollout.policy import Decision, Source, Stage
from harness import FIRST_WORDS, Care, Person

SCALE = float(os.environ.get("CARE_TEST_ROUNDS", "1"))


def rounds(default: int) -> int:
    """How often a race or a fault is tried: the default times CARE_TEST_ROUNDS, which may be a fraction."""
    return max(1, round(default * SCALE))


def held(care: Care, stage: str) -> Messaging:
    """The facade of a node on which this stage is in force."""
    decision = Decision(Stage.parse(stage), Source.ENVIRONMENT_STAGE)
    return Messaging(care.database, lambda: decision)


@dataclass(slots=True)
class Flag:
    """A flag that moves while conversations go on."""

    stage: str

    def facade(self, care: Care) -> Messaging:
        """A facade that follows the flag."""
        return Messaging(care.database, lambda: Decision(Stage.parse(self.stage), Source.DATABASE_STAGE))


@dataclass(frozen=True, slots=True)
class Engine:
    """One of the two ways to open a conversation, through the facade."""

    version: Version

    async def offer(self, helper: Person, request: UUID, words: str = FIRST_WORDS, *, key: str | None = None) -> Result:
        """Offers help in this engine."""
        facade = held(helper.town.care, "on" if self.version == "v2" else "off")
        return await facade.start_help_conversation(helper.caller(key), request, words)

    async def opened(self, helper: Person, request: UUID, words: str = FIRST_WORDS) -> UUID:
        """Offers help, which must succeed, and answers the conversation's id."""
        result = (await self.offer(helper, request, words)).raised()
        assert result.conversation_id is not None
        return result.conversation_id


V1, V2 = Engine("v1"), Engine("v2")
ENGINES: Sequence[Engine] = (V1, V2)


def other(engine: Engine) -> Engine:
    """The engine that this one is not."""
    return V2 if engine.version == "v1" else V1


@asynccontextmanager
async def hasty(care: Care) -> AsyncIterator[Care]:
    """The database behind a login whose statements are cancelled after a fifth of a second."""
    pool = await asyncpg.create_pool(
        care.server.dsn(user="care_app", database=care.name),
        min_size=1,
        max_size=2,
        server_settings={"timezone": "UTC", "statement_timeout": "200ms"},
    )
    try:
        yield replace(care, database=Database(pool))
    finally:
        await pool.close()


@asynccontextmanager
async def holding(care: Care, person: Person) -> AsyncIterator[asyncpg.Connection]:
    """Somebody else's transaction that holds a member's profile row, as every write about them does first."""
    connection = await care.connect()
    try:
        async with connection.transaction():
            await connection.execute(
                "select 1 from public.profiles where user_id = $1 for no key update", person.user_id
            )
            yield connection
    finally:
        await connection.close()


@dataclass(frozen=True, slots=True)
class Session:
    """A person's connection inside a transaction that the test ends, so that others meet its locks."""

    person: Person
    connection: asyncpg.Connection

    async def call(self, function: str, *, key: str | None = None, **arguments: object) -> dict[str, Any]:
        """Calls a function as the web process would, without committing."""
        caller = self.person.caller(key)
        names = ", ".join(f"p_{name} => ${place}" for place, name in enumerate(arguments, start=1))
        await self.connection.fetchrow(
            "select set_config('request.jwt.claims', $1, true), set_config('request.headers', $2, true)",
            caller.claims(),
            caller.headers(),
        )
        value = await self.connection.fetchval(f"select public.{function}({names})", *arguments.values())
        return json.loads(value)  # type: ignore[no-any-return]

    async def offer(self, engine: Engine, request: UUID, words: str = FIRST_WORDS, *, key: str | None = None) -> UUID:
        """Offers help up to the commit that makes it a conversation; V1's first two steps are committed before."""
        if engine is V2:
            answer = await self.call(
                "create_conversation_atomic",
                key=key,
                help_request_id=request,
                helper_id=self.person.user_id,
                initial_message=words,
            )
        else:
            opened = await half_open(self.person, request, words, key=key)
            answer = await self.call(
                "legacy_write_first_message",
                key=key,
                conversation_id=opened,
                recipient_id=await recipient(self.person, request),
                content=words,
            )
        assert answer["success"], answer
        return UUID(answer["conversation_id"])


@asynccontextmanager
async def session(person: Person) -> AsyncIterator[Session]:
    """A transaction of a person's; it commits at the end of the block."""
    connection = await person.town.care.connect("care_app")
    try:
        async with connection.transaction():
            yield Session(person, connection)
    finally:
        await connection.close()


async def waiting(care: Care, count: int = 1) -> None:
    """Returns once this many calls wait for a lock in this database."""
    ends = monotonic() + 15
    while (
        await care.owner.fetchval(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        )
        != count
    ):
        assert monotonic() < ends, f"not {count} calls wait for a lock"
        await asyncio.sleep(0.005)


async def recipient(helper: Person, request: UUID) -> UUID:
    """Who owns a request."""
    value = await helper.town.care.owner.fetchval("select user_id from public.help_requests where id = $1", request)
    return UUID(str(value))


async def half_open(
    helper: Person, request: UUID, words: str = FIRST_WORDS, *, key: str | None = None, steps: int = 2
) -> UUID:
    """V1's first steps and no more: an orphan."""
    opened = await helper.call("legacy_open_conversation", key=key, help_request_id=request, initial_message=words)
    identity = UUID(opened["conversation_id"])
    if steps == 2:
        await helper.call(
            "legacy_add_participants",
            key=key,
            conversation_id=identity,
            recipient_id=UUID(opened["recipient_id"]),
        )
    return identity
