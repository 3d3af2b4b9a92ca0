"""rollout.md, counting: which calls are one attempt, what it ends as, and that nothing is counted twice."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from engines.stage import waiting
from harness import Care

Pair = tuple[UUID, UUID]


@dataclass(slots=True)
class Node:
    """A process that hands its outcomes over; ages are in seconds before the call."""

    care: Care
    node_id: UUID = field(default_factory=uuid4)
    numbers: Any = field(default_factory=lambda: count(1))

    def event(self, pair: Pair, age: float, kind: str, code: str | None = None, **more: Any) -> Any:  # noqa: ANN401
        """One call's outcome."""
        helper, request = pair
        return {
            "number": next(self.numbers), "age_ms": age * 1000, "community_id": None, "help_request_id": request,
            "user_id": helper, "version": "v2", "endpoint": "start-conversation", "kind": kind, "code": code,
            "duration_ms": 12.5, "reference": f"{kind} {age}", **more,
        }  # fmt: skip

    async def record(self, events: Sequence[Any], *, dropped: int = 0) -> int:
        """Hands events over, as a flush does."""
        given = msgspec.json.encode(events).decode()
        return int(
            await self.care.database.value(
                "care.record_attempts", p_node_id=self.node_id, p_events=given, p_dropped=dropped
            )
        )


@pytest.fixture
def pair() -> Pair:
    """A helper and a request of their own."""
    return uuid4(), uuid4()


@pytest.fixture
def node(shared: Care) -> Node:
    """A process."""
    return Node(shared)


async def attempts(care: Care, pair: Pair) -> list[tuple[str, str | None, int]]:
    """The attempts of a pair in the order of their opening: kind, code, retries."""
    rows = await care.owner.fetch(
        "select kind, code, retries from care.engine_outcomes where user_id = $1 and help_request_id = $2 "
        "order by opened_at",
        *pair,
    )
    return [tuple(row) for row in rows]


async def test_a_success_within_a_minute_makes_a_failure_a_success_on_any_node(node: Node, pair: Pair) -> None:
    await node.record([node.event(pair, 60, "failure", "unavailable")])
    assert await attempts(node.care, pair) == [("failure", "unavailable", 0)]
    another = Node(node.care)
    await another.record([another.event(pair, 1, "success")])
    assert await attempts(node.care, pair) == [("success", None, 1)]
    row = await node.care.owner.fetchrow("select * from care.engine_outcomes where user_id = $1", pair[0])
    assert (row["success"], row["node_id"], row["reference"]) == (True, another.node_id, "success 1")
    assert 58 < (row["closed_at"] - row["opened_at"]).total_seconds() < 60.5


async def test_a_success_after_61_seconds_is_an_attempt_of_its_own(node: Node, pair: Pair) -> None:
    await node.record([node.event(pair, 61, "failure", "server_error"), node.event(pair, 0, "success")])
    assert await attempts(node.care, pair) == [("failure", "server_error", 0), ("success", None, 0)]


async def test_retries_are_counted_with_their_attempt_and_not_again(node: Node, pair: Pair) -> None:
    fails = [node.event(pair, age, "failure", code) for age, code in ((50, "unavailable"), (40, "server_error"))]
    await node.record([*fails, node.event(pair, 30, "success"), node.event(pair, 20, "failure", "rpc_error")])
    await node.record([node.event(pair, 10, "success")])
    assert await attempts(node.care, pair) == [("success", None, 4)]


async def test_the_first_failures_code_stays(node: Node, pair: Pair) -> None:
    await node.record([node.event(pair, 40, "failure", "rpc_error"), node.event(pair, 10, "failure", "unavailable")])
    assert await attempts(node.care, pair) == [("failure", "rpc_error", 1)]


async def test_who_is_told_of_success_again_a_day_later_is_no_new_attempt(node: Node, pair: Pair) -> None:
    await node.record([node.event(pair, 86_400, "success")])
    await node.record([node.event(pair, 0, "success")])
    assert await attempts(node.care, pair) == [("success", None, 1)]


async def test_an_answer_is_no_failure_and_mends_none(node: Node, pair: Pair) -> None:
    await node.record([node.event(pair, 30, "failure", "unavailable")])
    # Told an error first and then that the conversation is there: what V1 did to everybody.
    await node.record([node.event(pair, age, "answer", "conversation_exists") for age in (20, 10)])
    await node.record([node.event(pair, 5, "answer", "rate_limited")])
    assert await attempts(node.care, pair) == [
        ("failure", "unavailable", 0), ("answer", "conversation_exists", 1), ("answer", "rate_limited", 0),
    ]  # fmt: skip
    await node.record([node.event(pair, 0, "success")])
    assert (await attempts(node.care, pair))[0] == ("success", None, 1)
    kinds = await node.care.owner.fetch("select kind, success from care.engine_outcomes where user_id = $1", pair[0])
    assert {(row["kind"], row["success"]) for row in kinds} == {("success", True), ("answer", None)}


async def test_one_engines_success_does_not_mend_the_others_failure(node: Node, pair: Pair) -> None:
    await node.record([node.event(pair, 10, "failure", "server_error")])
    await node.record([node.event(pair, 5, "success", version="v1")])
    assert await attempts(node.care, pair) == [("failure", "server_error", 0), ("success", None, 0)]


async def test_what_both_engines_share_is_apart_until_the_engine_itself_fails_or_succeeds(node: Node) -> None:
    first, second, third = [(uuid4(), uuid4()) for _ in range(3)]
    for one in (first, second, third):
        await node.record([node.event(one, 30, "shared", "unavailable")])
    await node.record([node.event(second, 20, "failure", "server_error"), node.event(third, 20, "success")])
    await node.record([node.event(second, 10, "shared", "unavailable")])
    assert await attempts(node.care, first) == [("shared", "unavailable", 0)]
    assert await attempts(node.care, second) == [("failure", "server_error", 2)]
    assert await attempts(node.care, third) == [("success", None, 1)]


@pytest.mark.parametrize("judged", [False, True])
async def test_a_failure_that_arrives_late_joins_the_success_that_followed_it(
    node: Node,
    pair: Pair,
    judged: bool,
) -> None:
    away = Node(node.care)
    late = away.event(pair, 0, "failure", "unavailable")
    await node.record([node.event(pair, 30, "success")])
    if judged:
        await node.care.owner.execute("update care.engine_outcomes set judged_at = now() where user_id = $1", pair[0])
    await away.record([{**late, "age_ms": 70_000}])
    assert await attempts(node.care, pair) == [("success", None, 1)]
    # And a success that was away longer than the minute still mends what it mended then.
    other = uuid4(), uuid4()
    await node.record([node.event(other, 300, "failure", "unavailable")])
    await away.record([away.event(other, 250, "success")])
    assert await attempts(node.care, other) == [("success", None, 1)]


async def test_halves_that_arrive_in_one_flush_and_in_any_order_are_one_attempt(node: Node, pair: Pair) -> None:
    events = [node.event(pair, 5, "success"), node.event(pair, 50, "failure", "unavailable")]
    await node.record(events)
    assert await attempts(node.care, pair) == [("success", None, 1)]


async def test_a_repeated_flush_doubles_nothing(node: Node, pair: Pair) -> None:
    other = uuid4(), uuid4()
    events = [
        node.event(pair, 9, "failure", "unavailable"), node.event(pair, 8, "failure", "unavailable"),
        node.event(other, 7, "answer", "not_found"), node.event(other, 6, "answer", "not_found"),
    ]  # fmt: skip
    assert await node.record(events, dropped=3) == 4
    before = await attempts(node.care, pair), await attempts(node.care, other)
    assert await node.record(events, dropped=3) == 4
    more = node.event(pair, 0, "success")
    assert await node.record([*events[2:], more]) == 5
    assert before == ([("failure", "unavailable", 1)], [("answer", "not_found", 1)])
    assert await attempts(node.care, pair) == [("success", None, 2)]
    assert await attempts(node.care, other) == [("answer", "not_found", 1)]
    # Another process with the same numbers is another process.
    assert await Node(node.care).record([{**more, "number": 1}]) == 1
    assert await attempts(node.care, pair) == [("success", None, 3)]


async def test_an_age_that_no_clock_can_mean_is_now(node: Node, pair: Pair) -> None:
    await node.record([node.event(pair, -86_400, "failure", "unavailable"), node.event(pair, 0, "success")])
    assert await attempts(node.care, pair) == [("success", None, 1)]


async def test_flushes_of_nodes_at_once_see_each_others_halves(node: Node, pair: Pair) -> None:
    another, connection = Node(node.care), await node.care.connect("care_app")
    failure = msgspec.json.encode([node.event(pair, 5, "failure", "unavailable")]).decode()
    async with connection.transaction():
        await connection.execute("select care.record_attempts($1, $2)", node.node_id, failure)
        succeeding = asyncio.create_task(another.record([another.event(pair, 0, "success")]))
        await waiting(node.care)
    await succeeding
    await connection.close()
    assert await attempts(node.care, pair) == [("success", None, 1)]


# --- Counts a minute


async def test_counts_are_absolute_and_a_minute_keeps_its_time(node: Node) -> None:
    histogram = [0] * 25
    given = {"slot": 0, "age_ms": 90_000, "version": "both", "verb": "send", "code": "success"}
    for calls in (1, 5, 5):
        histogram[3] = calls
        text = msgspec.json.encode([{**given, "calls": calls, "histogram": histogram}]).decode()
        await node.care.database.value("care.record_minutes", p_node_id=node.node_id, p_minutes=text)
        given["age_ms"] = 120_000
    rows = await node.care.owner.fetch(
        "select calls, histogram, now() - minute > interval '1 minute' as earlier from care.engine_minutes "
        "where node_id = $1",
        node.node_id,
    )
    assert [tuple(row) for row in rows] == [(5, histogram, True)]


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ({}, (None, None, None)),
        ({5: 100}, (6.0, 6.9, 6.98)),  # all between 5 and 7 ms
        ({0: 50, 19: 50}, (1.0, 725.0, 745.0)),
        ({24: 1}, (10_000, 10_000, 10_000)),
    ],
)
async def test_percentiles_are_read_from_the_histogram(
    shared: Care, calls: dict[int, int], expected: tuple[float | None, ...]
) -> None:
    histogram = [calls.get(place, 0) for place in range(25)]
    found = [
        await shared.owner.fetchval("select care.percentile($1::bigint[], $2)", histogram, share)
        for share in (0.5, 0.95, 0.99)
    ]
    assert found == [None if value is None else pytest.approx(value) for value in expected]


@pytest.mark.parametrize(
    ("successes", "attempts", "low", "high"),
    [(0, 0, None, None), (20, 20, 0.8389, 1.0), (0, 20, 0.0, 0.1611), (95, 100, 0.8882, 0.9785)],
)
async def test_wilsons_interval(
    shared: Care, successes: int, attempts: int, low: float | None, high: float | None
) -> None:
    row = await shared.owner.fetchrow("select * from care.wilson($1, $2)", successes, attempts)
    assert tuple(row) == tuple(None if value is None else pytest.approx(value, abs=1e-4) for value in (low, high))


async def test_old_outcomes_go_and_the_others_stay(scratch: Care) -> None:
    node = Node(scratch)
    day = 86_400
    pairs = [(uuid4(), uuid4()) for _ in range(2)]
    await node.record([node.event(pairs[0], 400 * day, "success"), node.event(pairs[1], 390 * day, "success")])
    for slot, age in ((0, 121), (1, 119)):
        text = msgspec.json.encode([
            {"slot": slot, "age_ms": age * day * 1000, "version": "v2", "verb": "open", "code": "success", "calls": 1,
             "histogram": [0] * 25}
        ]).decode()  # fmt: skip
        await scratch.database.value("care.record_minutes", p_node_id=node.node_id, p_minutes=text)
    assert await scratch.database.value("care.prune") == 2
    assert [len(await attempts(scratch, pair)) for pair in pairs] == [0, 1]
    assert await scratch.owner.fetchval("select array_agg(slot) from care.engine_minutes") == [1]


# --- The numbers


async def test_a_rate_without_attempts_is_no_data(scratch: Care) -> None:
    rows = await scratch.owner.fetch("select version, attempts, success_rate from care.rollout_success")
    assert [tuple(row) for row in rows] == [("v1", 0, None), ("v2", 0, None)] * 3
    days = await scratch.owner.fetch("select v1, v2, share from care.rollout_daily")
    assert [tuple(row) for row in days] == [(0, 0, None)] * 7


async def test_the_views_show_both_engines(scratch: Care) -> None:
    node = Node(scratch)
    kinds = [("success", None)] * 3 + [("failure", "server_error"), ("shared", "unavailable"), ("answer", "not_found")]
    for version in ("v1", "v2"):
        pairs = [(uuid4(), uuid4()) for _ in kinds]
        given = zip(pairs, kinds, strict=True)
        await node.record([node.event(pair, 120, kind, code, version=version) for pair, (kind, code) in given])
        kinds = kinds[1:]
    rows = await scratch.owner.fetch("select * from care.rollout_success where days = 1")
    assert [tuple(map(str, row)) for row in rows] == [
        ("1", "v1", "4", "3", "1", "1", "1", "0.7500"), ("1", "v2", "3", "2", "1", "1", "1", "0.6667"),
    ]  # fmt: skip
    days = await scratch.owner.fetch("select v1, v2, share from care.rollout_daily where v1 > 0")
    assert [tuple(map(str, row)) for row in days] == [("3", "2", "0.4000")]
