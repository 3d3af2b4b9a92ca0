"""The facade as tests of the engines use it: held on one engine, or with a flag that a test moves."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from uuid import UUID

import asyncpg

from care_collective.db.call import Database
from care_collective.messaging.models import Result, Version
from care_collective.messaging.service import Messaging
from care_collective.rollout.policy import Decision, Source, Stage
from harness import FIRST_WORDS, Care, Person

ROUNDS = os.environ.get("CARE_TEST_ROUNDS")


def rounds(default: int) -> int:
    """How often a race is run: CARE_TEST_ROUNDS where it is set, the full number of goals.md by hand."""
    return int(ROUNDS or default)


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
