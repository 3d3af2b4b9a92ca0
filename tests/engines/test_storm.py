"""Everybody at once: one order in a thread, no message missed by a cursor, and no deadlock in any mix of writes."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg

from care_collective.db.call import Answer, Database
from care_collective.errors import CareError, Code
from care_collective.messaging.models import Result
from care_collective.messaging.service import Messaging
from engines.stage import Engine, held, rounds
from harness import FIRST_WORDS, Person, Postgres, Town, care

WIDE = {"conversations_per_hour": 1_000_000, "messages_per_minute": 1_000_000}
WRITERS = 64


class Jitter(random.Random):
    """Counts how often the seam waits before it tries again: after a deadlock, for one."""

    asked = 0

    def uniform(self, a: float, b: float) -> float:
        """As the original, and counted."""
        self.asked += 1
        return super().uniform(a, b)


async def test_sixty_four_writers_and_their_readers_see_one_order(postgres: Postgres, engine: Engine) -> None:
    name = await postgres.create()
    async with care(postgres, name, size=WRITERS + 4) as opened:
        town = await opened.town(limits=WIDE)
        owner, helper = await town.member("Olga"), await town.member("Hal")
        conversation = await engine.opened(helper, await town.request(owner))
        facade = held(opened, "on")
        each = rounds(6)
        written: list[tuple[int, UUID, str]] = []
        done = asyncio.Event()

        async def write(writer: int) -> None:
            person = (owner, helper)[writer % 2]
            for number in range(each):
                words = f"Message {number} of writer {writer}"
                for _ in range(20):  # 32 queue for one profile row; on a slow machine beyond the lock time-out
                    sent = await facade.send_message(person.caller(f"{writer} {number}"), conversation, words)
                    if sent.error != Code.UNAVAILABLE:
                        break
                assert sent.seq is not None
                assert sent.message_id is not None
                written.append((sent.seq, sent.message_id, words))

        async def read(person: Person, *, marks: int) -> list[tuple[int, UUID, str]]:
            """Pages through the thread as it grows; the cursor is the last seq seen and never goes back."""
            seen: list[tuple[int, UUID, str]] = []
            while True:
                last = done.is_set()
                after = seen[-1][0] if seen else 0
                page = (
                    await facade.get_messages(person.caller(), conversation, before=None, after=after, limit=7)
                ).data()
                seen += [(m["seq"], UUID(m["id"]), m["content"]) for m in page["messages"]]
                if marks and seen:
                    try:
                        (await facade.mark_read(person.caller(), conversation, seen[-1][0])).data()
                    except CareError as error:
                        if error.code != Code.UNAVAILABLE:
                            raise
                        last = False
                if last and not page["has_more"]:
                    return seen

        async with asyncio.TaskGroup() as tasks:
            readers = [tasks.create_task(read(person, marks=marks)) for person in (owner, helper) for marks in (0, 1)]
            await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
            done.set()
        seen = [reader.result() for reader in readers]

        order = sorted(written)
        assert [seq for seq, _, _ in order] == list(range(1, WRITERS * each + 1))
        for reader in seen:
            assert reader == order
        for person in (owner, helper):
            (item,) = (await person.call("list_conversations"))["conversations"]
            assert (item["unread"], item["last_seq"], item["last_read_seq"]) == (0, len(order), len(order))
        assert await opened.violations() == []
    await postgres.drop(name)


# --- The mix of rule 11


class Storm:
    """A few members who do everything to each other at once, so that nearly every call meets another's locks."""

    def __init__(self, town: Town, database: Database, dice: random.Random) -> None:
        self.town = town
        self.dice = dice
        self.facades = [Messaging(database, held(town.care, stage)._decide) for stage in ("off", "on")]
        self.members: list[Person] = []
        self.requests: list[tuple[Person, UUID]] = []
        self.threads: list[tuple[Person, Person, UUID]] = []  # owner, helper, conversation
        self.told: Counter[str] = Counter()

    async def prepare(self) -> None:
        """Eight members, six requests of three of them."""
        self.members = [await self.town.member(f"Member{number}") for number in range(8)]
        for owner in self.members[:3]:
            self.requests += [(owner, await self.town.request(owner)) for _ in range(2)]
        for owner, request in self.requests[:2]:
            await self.offer(self.members[5], owner, request)

    async def offer(self, helper: Person, owner: Person, request: UUID) -> Result:
        """An offer in either engine."""
        facade = self.dice.choice(self.facades)
        result = await facade.start_help_conversation(helper.caller(), request, FIRST_WORDS)
        if result.success:
            assert result.conversation_id is not None
            self.threads.append((owner, helper, result.conversation_id))
        return result

    async def act(self) -> None:
        """One call, drawn by lot; its answer is counted by verb and code."""
        facade = self.dice.choice(self.facades)
        owner, request = self.dice.choice(self.requests)
        requester, helper, conversation = self.dice.choice(self.threads)
        person = self.dice.choice((requester, helper))
        calls: dict[str, tuple[int, Callable[[], Awaitable[Any]]]] = {
            "offer": (25, lambda: self.offer(self.dice.choice(self.members), owner, request)),
            "send": (35, lambda: facade.send_message(person.caller(), conversation, "Are you there?")),
            "mark": (10, lambda: facade.mark_read(person.caller(), conversation, self.dice.randrange(50))),
            "close": (4, lambda: facade.close_conversation(person.caller(), conversation)),
            "reopen": (8, lambda: facade.reopen_conversation(person.caller(), conversation)),
            "accept": (6, lambda: facade.accept_offer(requester.caller(), conversation)),
            "decline": (2, lambda: facade.decline_offer(requester.caller(), conversation, None)),
            "step_back": (2, lambda: facade.step_back(helper.caller(), conversation)),
            "mute": (1, lambda: facade.mute_conversation(person.caller(), conversation, None)),
            "archive": (3, lambda: facade.archive_conversation(person.caller(), conversation, archived=True)),
            "block": (2, lambda: facade.block_user(person.caller(), self.dice.choice((requester, helper)).user_id)),
            "unblock": (6, lambda: self.unblock(facade, person)),
            "release": (1, lambda: facade.release_helper(requester.caller(), conversation)),
            "cancel": (2, lambda: self.end(owner, request, "cancel_help_request")),
            "complete": (1, lambda: self.end(owner, request, "complete_help_request")),
            "ask_again": (4, lambda: self.end(owner, request, "reopen_help_request")),
            "read_all": (6, lambda: person.answer("mark_all_notifications_read")),
        }
        (verb,) = self.dice.choices(list(calls), [weight for weight, _ in calls.values()])
        try:
            answer = await calls[verb][1]()
            refusal = answer.refusal() if isinstance(answer, Answer) else answer.error
            code = refusal.code if isinstance(refusal, CareError) else refusal
        except CareError as error:
            code = error.code
        self.told[f"{verb} {code or 'done'}"] += 1

    async def unblock(self, facade: Messaging, person: Person) -> Answer:
        """Ends one of a person's blocks, or what would be one."""
        blocks = (await facade.list_blocks(person.caller())).data()["blocks"]
        other = UUID(blocks[0]["user"]["user_id"]) if blocks else person.user_id
        return await facade.unblock_user(person.caller(), other)

    async def end(self, owner: Person, request: UUID, function: str) -> Answer:
        """Ends a request of its owner's, or opens it again."""
        return await owner.answer(function, help_request_id=request)


async def test_the_mixed_storm_knows_no_deadlock(postgres: Postgres) -> None:
    calls, name, jitter = rounds(1600), await postgres.create(), Jitter(1)
    async with care(postgres, name) as opened:
        town = await opened.town(limits=WIDE)
        storm = Storm(town, Database(opened.database.pool, random_=jitter), random.Random(1))
        await storm.prepare()
        left = iter(range(calls))

        async def act() -> None:
            for _ in left:
                await storm.act()

        await asyncio.gather(*(act() for _ in range(24)))

        assert sum(storm.told.values()) == calls
        faults = {Code.UNAVAILABLE, Code.RPC_ERROR, Code.SERVER_ERROR}
        assert [told for told in storm.told if told.split()[1] in faults] == []
        assert {told for told in storm.told if told.endswith("done")} >= {
            f"{verb} done"
            for verb in (
                "offer",
                "send",
                "mark",
                "close",
                "reopen",
                "accept",
                "read_all",
                "archive",
                "block",
                "unblock",
            )
        }, storm.told
        assert jitter.asked == 0, "the seam tried something again"
        # A block or the request's end between two steps of V1 leaves an orphan: that is what V1 is.
        assert set(await opened.violations()) <= {("orphan", "v1")}
    # Closed connections have reported what they counted.
    counted = await deadlocks(postgres, name)
    await postgres.drop(name)
    assert counted == 0


async def deadlocks(postgres: Postgres, name: str) -> int:
    """How many deadlocks the server has counted in a database."""
    async with care(postgres, name, size=1) as opened:
        value = await opened.owner.fetchval("select deadlocks from pg_stat_database where datname = current_database()")
        return int(value)


async def test_the_counter_of_the_storm_sees_a_deadlock(postgres: Postgres) -> None:
    """The storm's nought is worth something only if the counter counts."""
    name = await postgres.create()
    async with care(postgres, name) as opened:
        town = await opened.town()
        people = [await town.member(), await town.member()]
        await opened.owner.execute(f"alter database {name} set deadlock_timeout = '20ms'")
        both = [await opened.connect(), await opened.connect()]

        async def cross(index: int, met: asyncio.Barrier) -> bool:
            lock = "select 1 from public.profiles where user_id = $1 for update"
            try:
                async with both[index].transaction():
                    await both[index].execute(lock, people[index].user_id)
                    await met.wait()
                    await both[index].execute(lock, people[1 - index].user_id)
            except asyncpg.DeadlockDetectedError:
                return True
            return False

        met = asyncio.Barrier(2)
        assert sorted(await asyncio.gather(cross(0, met), cross(1, met))) == [False, True]
        for connection in both:
            await connection.close()
    assert await deadlocks(postgres, name) == 1
    await postgres.drop(name)
