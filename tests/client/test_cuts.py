"""Nothing is written twice and nothing is missing, however many answers are lost on the way."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar
from uuid import UUID

from care_collective.client import CareClient
from care_collective.client.models import Written
from client.conftest import Connect
from client.proxy import WAYS, Cutter, cutting
from engines.stage import rounds
from harness import Care

COUNT = rounds(60)
ABREAST = 8
Done = TypeVar("Done", bound=Written)


async def every(calls: Sequence[Callable[[], Awaitable[Done]]]) -> list[Done]:
    """Makes calls, some at a time; their results in order."""
    turn = asyncio.Semaphore(ABREAST)

    async def one(call: Callable[[], Awaitable[Done]]) -> Done:
        async with turn:
            return await call()

    return await asyncio.gather(*(one(call) for call in calls))


async def test_no_write_is_doubled_and_none_is_missing_while_answers_are_cut(
    shared: Care, port: int, connect: Connect, engine: str
) -> None:
    town = await shared.town(limits={"conversations_per_hour": 10_000, "messages_per_minute": 10_000})
    owners = [await town.member(f"Owner {n}") for n in range(ABREAST)]
    helpers = [await town.member(f"Helper {n}") for n in range(ABREAST)]
    cutter = Cutter(share=0.3, draw=random.Random(7))
    async with cutting(port, cutter) as cut:
        asking = [connect(cut, person, attempts=30) for person in owners]
        helping = [connect(cut, person, attempts=30) for person in helpers]

        def of(clients: list[CareClient], number: int) -> CareClient:
            return clients[number % ABREAST]

        asked = await every(
            [lambda n=n: of(asking, n).requests.create(f"Request {n}", "other") for n in range(COUNT)]  # type: ignore[misc]
        )
        opened = await every(
            [
                lambda n=n, on=on: of(helping, n).messaging.start_conversation(on.help_request_id, f"First words {n}")  # type: ignore[misc]
                for n, on in enumerate(asked)
            ]
        )
        sent = await every(
            [
                lambda n=n, to=to: of(helping, n).messaging.send_message(to.conversation_id, f"More words {n}")  # type: ignore[misc]
                for n, to in enumerate(opened)
            ]
        )

    total = cutter.passed + sum(cutter.lost.values())
    assert 0.2 < sum(cutter.lost.values()) / total < 0.4
    assert all(cutter.lost[way] > COUNT / 20 for way in WAYS)
    results = [*asked, *opened, *sent]
    assert sum(result.replayed for result in results) > COUNT / 4
    assert {one.version for one in opened} == {engine}

    async def rows(statement: str) -> list[tuple[UUID, str]]:
        return [(row[0], row[1]) for row in await shared.owner.fetch(statement, town.community_id)]

    requests = await rows("select id, title from public.help_requests where community_id = $1")
    first = await rows("select conversation_id, content from care.thread_messages where community_id = $1 and seq = 0")
    more = await rows("select id, content from care.thread_messages where community_id = $1 and seq > 0")
    assert Counter(requests) == Counter((one.help_request_id, f"Request {n}") for n, one in enumerate(asked))
    assert Counter(first) == Counter((one.conversation_id, f"First words {n}") for n, one in enumerate(opened))
    assert Counter(more) == Counter((one.message_id, f"More words {n}") for n, one in enumerate(sent))
    assert await town.count("care.threads") == COUNT
    assert await shared.violations(town.community_id) == []
