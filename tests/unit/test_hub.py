"""The hub alone: whom a hint wakes, and what a stream that falls behind is told."""

import asyncio
import json
from uuid import UUID, uuid4

import pytest

from care_collective.db.listen import Listener
from care_collective.notifications import live
from care_collective.notifications.live import MOST_PENDING, Hub, Stream

TOWN, ANN, BEN, TALK = uuid4(), uuid4(), uuid4(), uuid4()


def hub() -> Hub:
    """A hub whose listener is not run."""
    return Hub(Listener("postgresql://nobody@/nowhere"))


def hint(conversation: UUID = TALK, *people: UUID, town: UUID = TOWN) -> str:
    """What care.hints writes of one conversation."""
    return json.dumps([[str(town), str(conversation), None, *(str(one) for one in people or (ANN, BEN))]])


async def woken(stream: Stream, seconds: float = 0) -> set[UUID] | None:
    """What a stream has been woken for."""
    changed = await stream.wait(seconds)
    return None if changed is None else set(changed)


async def test_a_hint_wakes_its_two_people_in_its_community_and_nobody_else() -> None:
    here = hub()
    ann, again, ben = (here.open(one, TOWN, None) for one in (ANN, ANN, BEN))
    stranger, abroad, anywhere = (
        here.open(uuid4(), TOWN, None),
        here.open(ANN, uuid4(), None),
        here.open(BEN, None, None),
    )
    here.heard(hint())
    assert [await woken(one) for one in (ann, again, ben, anywhere)] == [{TALK}] * 4
    assert [await woken(one) for one in (stranger, abroad)] == [set(), set()]
    assert await woken(ann) == set()


async def test_a_hint_without_a_requester_wakes_the_helper_alone() -> None:
    here = hub()
    ann, ben = here.open(ANN, TOWN, None), here.open(BEN, TOWN, None)
    here.heard(json.dumps([[str(TOWN), str(TALK), None, None, str(BEN)]]))
    assert (await woken(ann), await woken(ben)) == (set(), {TALK})


async def test_what_happens_alone_is_told_at_once_and_what_comes_fast_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "GATHER_SECONDS", 60)
    here, loop, other = hub(), asyncio.get_running_loop(), uuid4()
    ann = here.open(ANN, TOWN, None)
    async with asyncio.timeout(30):
        here.heard(hint())
        assert await woken(ann, 5) == {TALK}
        here.heard(hint())
        together = asyncio.create_task(woken(ann, 5))
        await asyncio.sleep(0)
        here.heard(hint(other))
        await asyncio.sleep(0)
        assert not together.done()
        ann._next = loop.time()  # the minute has passed
        here.heard(hint())
        assert await together == {TALK, other}
        ann._next = loop.time() + 0.01
        here.heard(hint())
        assert await woken(ann, 5) == {TALK}  # without a further hint
        here.heard(hint())
        ended = asyncio.create_task(woken(ann, 5))
        await asyncio.sleep(0)
        assert not ended.done()
        ann.end()
        assert await ended == {TALK}


async def test_who_falls_far_behind_reads_everything_anew() -> None:
    here = hub()
    slow = here.open(ANN, TOWN, None)
    for _ in range(MOST_PENDING):
        here.heard(hint(uuid4()))
    assert len(await woken(slow) or ()) == MOST_PENDING
    for _ in range(MOST_PENDING + 1000):
        here.heard(hint(uuid4()))
    assert await woken(slow) is None
    assert await woken(slow) == set()


async def test_a_hint_that_nobody_can_read_wakes_everybody() -> None:
    here = hub()
    ann = here.open(ANN, TOWN, None)
    for payload in ("", "{}", "[[]]", '[["x"]]', hint()[:-2], hint()[:-2] + "," + "[" * 5000):
        here.heard(payload)
        assert await woken(ann) is None, payload


async def test_a_stream_that_waits_is_woken_and_one_that_has_ended_never_waits() -> None:
    here = hub()
    ann = here.open(ANN, TOWN, None)
    waiting = asyncio.create_task(woken(ann, 60))
    await asyncio.sleep(0)
    here.heard(hint())
    assert await waiting == {TALK}
    here.end()
    assert await woken(ann, 60) == set()
    assert await woken(ann, 60) == set()
    assert here.open(BEN, TOWN, None).ended
