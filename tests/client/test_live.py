"""The client's live stream: everything once and in order, however often it is cut on the way."""

import asyncio
import random
from contextlib import aclosing
from uuid import UUID

import pytest

from care_collective.client import ConnectionFailed, NotFound
from care_collective.client.models import LiveState, Message
from care_collective.notifications.live import Hub
from care_collective.web.services import Services
from client.conftest import Connect
from client.proxy import Severer, severing
from engines.stage import rounds
from harness import FIRST_WORDS, Care, Person, Town

COUNT = rounds(500)
CUTS = rounds(25)


async def pair(town: Town, connect: Connect, port: int) -> tuple[Person, Person, UUID]:
    """Two people with a conversation."""
    owner, helper = await town.member("Olga"), await town.member("Hal")
    opened = await connect(port, helper).messaging.start_conversation(await town.request(owner), FIRST_WORDS)
    return owner, helper, opened.conversation_id


async def lose_hints(care: Care) -> None:
    """Ends the LISTEN connections of this database: what is told meanwhile is told to nobody."""
    await care.owner.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
        "where application_name = 'care-collective listener' and datname = current_database()"
    )


async def test_no_message_is_missed_and_none_comes_twice_while_streams_are_cut(
    shared: Care, services: Services, port: int, connect: Connect
) -> None:
    town = await shared.town(limits={"messages_per_minute": 1_000_000})
    owner, helper, conversation = await pair(town, connect, port)
    severer = Severer(shortest=900, longest=6000, draw=random.Random(5))

    async def write() -> None:
        for number in range(1, COUNT + 1):
            who = owner if number % 3 else helper
            assert (await who.send(conversation, f"Line {number}"))["seq"] == number
            services.relay.nudge()  # as a write over HTTP does
            if number % 200 == 0:
                await lose_hints(shared)

    seen: list[Message] = []
    async with severing(port, severer) as cut, asyncio.timeout(60 + COUNT / 10), asyncio.TaskGroup() as writing:
        writing.create_task(write())
        async with aclosing(connect(cut, helper).messaging.live_messages(conversation, after=-1)) as live:
            async for message in live:
                seen.append(message)
                if message.seq == COUNT:
                    break
    assert [message.seq for message in seen] == list(range(COUNT + 1))
    assert [message.content for message in seen[1:]] == [f"Line {number}" for number in range(1, COUNT + 1)]
    assert len({message.id for message in seen}) == COUNT + 1
    assert severer.cuts >= CUTS, severer.cuts


async def test_a_stream_that_ends_before_its_first_message_goes_on_from_where_it_began(
    services: Services, town: Town, port: int, connect: Connect
) -> None:
    owner, helper, conversation = await pair(town, connect, port)
    # One stream a member: two readers push each other out all the time.
    object.__setattr__(services, "live", Hub(services.listener, per_member=1))
    reading = [connect(port, helper).messaging.live(conversation) for _ in range(2)]
    heard: list[list[int]] = [[], []]
    begun = asyncio.Event()

    async def read(number: int) -> None:
        async for event in reading[number]:
            begun.set()  # the first state comes after the stream's place
            if isinstance(event, Message):
                heard[number].append(event.seq)
                if event.seq == 20:
                    return

    async with asyncio.timeout(60), asyncio.TaskGroup() as readers:
        for number in range(2):
            readers.create_task(read(number))
        await begun.wait()
        for _ in range(20):
            await owner.send(conversation, "On")
            await asyncio.sleep(0.005)
    for one, stream in zip(heard, reading, strict=True):
        assert one == list(range(one[0], 21))
        await stream.aclose()
    assert min(heard)[0] == 1


async def test_words_with_ends_of_lines_in_them_come_whole(town: Town, port: int, connect: Connect) -> None:
    owner, helper, conversation = await pair(town, connect, port)
    words = "one\ntwo\r\nthree\u2028four\u2029five\u0085six\x0bseven\x1ceight: nine\n\ndata: ten"
    sent = await connect(port, owner).messaging.send_message(conversation, words)
    async with aclosing(connect(port, helper).messaging.live(conversation, after=0)) as live:
        message, state = await anext(live), await anext(live)
    assert isinstance(message, Message)
    assert (message.id, message.content) == (sent.message_id, words)
    assert isinstance(state, LiveState)
    assert [row.id for row in state.conversations] == [conversation]


async def test_what_time_does_not_mend_is_raised(town: Town, port: int, connect: Connect) -> None:
    _, _, conversation = await pair(town, connect, port)
    with pytest.raises(NotFound):
        await anext(connect(port, await town.member("Sam")).messaging.live(conversation))
    with pytest.raises(ConnectionFailed):
        await anext(connect(1, await town.member("Sam"), attempts=2).messaging.live())
