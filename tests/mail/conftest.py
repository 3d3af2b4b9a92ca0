"""What the tests of letters stand on: a database whose letters are nobody else's, and a clock that tests turn."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from uuid import UUID, uuid4

import pytest

from care_collective.notifications.mailer import Connect, Mailer
from care_collective.operations.smtp import MailServer
from care_collective.web.pages.letters import composer
from database.letters import NOON, notify
from harness import Care, Person, Postgres, Town, care
from web_harness import SETTINGS


@dataclass
class Post:
    """A town whose members get letters, at noon of a day to come until the clock is turned."""

    town: Town
    now: datetime = NOON
    random: Random = field(default_factory=lambda: Random(7))

    def mailer(self, server: str | Connect, *, push: bool = False) -> Mailer:
        """A node's mailer, to a mail server by its URL."""
        connect = MailServer(server, "care.example").connected if isinstance(server, str) else server
        compose = composer(SETTINGS.base_url, SETTINGS.secret_key or "", lambda: self.now)
        database = self.town.care.database
        return Mailer(database, compose, connect, push=push, clock=lambda: self.now, random_=self.random)

    def wait(self, **time: float) -> None:
        """Turns the clock on."""
        self.now += timedelta(**time)

    async def member(self, name: str = "Ann") -> tuple[Person, str]:
        """A member without quiet hours, and their address."""
        person = await self.town.member(name)
        await self.town.care.owner.execute(
            "insert into public.messaging_preferences (community_id, user_id, quiet_from, quiet_to) "
            "values ($1, $2, '00:00', '00:00')",
            self.town.community_id,
            person.user_id,
        )
        address = await self.town.care.owner.fetchval("select email from care.users where id = $1", person.user_id)
        return person, str(address)

    async def told(self, *names: str) -> dict[str, Person]:
        """Members who each have a message that a letter is due for, by address."""
        found = {}
        for name in names:
            person, address = await self.member(name)
            await notify(person, self.now, request=await self.town.request(person), conversation=uuid4())
            found[address] = person
        return found

    async def states(self) -> dict[str, int]:
        """How many deliveries are sent, dropped, dead and waiting."""
        rows = await self.town.care.owner.fetch(
            "select case when sent_at is not null then 'sent' when dropped_at is not null then 'dropped' "
            "when dead_at is not null then 'dead' else 'waiting' end as state, count(*) from care.deliveries "
            "where community_id = $1 group by 1",
            self.town.community_id,
        )
        return {row["state"]: row["count"] for row in rows}

    async def error(self, user_id: UUID) -> str | None:
        """What a member's letter failed with."""
        value = await self.town.care.owner.fetchval(
            "select last_error from care.deliveries where community_id = $1 and user_id = $2",
            self.town.community_id,
            user_id,
        )
        return None if value is None else str(value)


@pytest.fixture(scope="session")
async def posted(postgres: Postgres) -> AsyncIterator[Care]:
    """One database for all tests of letters: a mailer sends whatever is due in it."""
    async with care(postgres, await postgres.create()) as opened:
        yield opened


@pytest.fixture
async def post(posted: Care) -> Post:
    """A town whose letters are all there is to send."""
    await posted.owner.execute("delete from care.deliveries; update public.notifications set due_at = null")
    return Post(await posted.town())
