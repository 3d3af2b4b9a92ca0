"""Whether a page stays as quick in a large database: the inbox of a busy member, the newest page of a long thread.

The seam of the web process calls the function in the large and in the small case in turn, one call after another; the
figure is the median of the rounds' ratios of median times. The plans are looked at: the page's own query takes its rows
from one index scan, and nothing else reads more than a few.
"""

import json
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any, Final
from uuid import UUID

import asyncpg

from care_collective.bench.doors import Effort
from care_collective.bench.report import Report, Row, at_least, at_most, middle
from care_collective.bench.stand import (
    COMMUNITY_ID,
    CONVERSATION,
    HELPER,
    OWNERS,
    Stand,
    Tell,
    database,
    helper,
    identity,
    stand,
)
from care_collective.db.call import Database
from care_collective.db.pool import make_pool

CONVERSATIONS: Final = 1_000_000
MESSAGES: Final = 100_000
_MOST: Final = 1.5
_SHARE: Final = 100  # a busy member has one of so many parts of all conversations
_SMALL, _SMALL_EACH = 1_000, 10
_PAGE: Final = 50
_WARM: Final = 20  # calls, after which plans are settled
_FEW: Final = 100  # rows; a table of so few is read through because that is quickest


@dataclass(frozen=True, slots=True)
class _Call:
    """A page as helper 1 asks for it."""

    database: Database
    function: str
    arguments: dict[str, object]

    async def milliseconds(self) -> float:
        """How long one call takes. Errors: CareError for a refusal."""
        began = time.perf_counter()
        answer = await self.database.call(self.function, helper(1), **self.arguments)
        taken = 1000 * (time.perf_counter() - began)
        answer.success()
        return taken


async def measure_inbox(effort: Effort, *, size: int = CONVERSATIONS, tell: Tell) -> Report:
    """The rows of the inbox: a member with a hundredth of `size` conversations against one with 10 of 1,000.

    The small one has 10 rows to show and the large one 20; what equal pages of 10 would give is told beside it.
    """
    async with stand(tell=tell) as on:
        tell(f"Making {size:,} conversations")
        began = time.perf_counter()
        each = max(_SMALL_EACH, size // _SHARE)
        async with (
            _filled(on, "large", size, busy=each) as owner,
            _filled(on, "small", _SMALL, busy=_SMALL_EACH),
            _seam(on, "large") as large,
            _seam(on, "small") as small,
        ):
            built = round(time.perf_counter() - began, 1)
            calls = [_inbox(large, 20), _inbox(small, 20), _inbox(large, _SMALL_EACH)]
            rounds = await _rounds("inbox", calls, effort, tell)
            plans = await _plans(owner, "select public.list_conversations()")
    detail = {
        "ratio_of_equal_pages": middle([times[2] / times[1] for times in rounds]),
        "conversations": size,
        "of_the_member": each,
        "built_in_seconds": built,
    }
    return Report(
        [
            _ratio("inbox: busy member, large database", rounds, detail),
            _one_scan("inbox", plans, "conversation_members_inbox_idx"),
        ]
    )


def _inbox(over: Database, limit: int) -> _Call:
    return _Call(over, "public.list_conversations", {"p_cursor": None, "p_limit": limit, "p_filter": "all"})


async def measure_thread(effort: Effort, *, size: int = MESSAGES, tell: Tell) -> Report:
    """The rows of a thread: the newest page of 50 of `size` messages against a thread of 50."""
    async with stand(tell=tell) as on:
        tell(f"Making a thread of {size:,} messages")
        began = time.perf_counter()
        async with database(on, "threads", members=1, requests=2, each=2) as owner, _seam(on, "threads") as over:
            for place, number in ((1, size), (2, _PAGE - 1)):
                await owner.fetchval("select bench.make_messages(1, $1, $2, $3)", place, OWNERS, number, timeout=600)
            await owner.execute("vacuum analyze", timeout=600)
            built = round(time.perf_counter() - began, 1)
            rounds = await _rounds("thread", [_thread(over, 1), _thread(over, 2)], effort, tell)
            plans = await _plans(owner, f"select public.get_messages('{_thread_id(1)}')")
    detail = {"messages": size, "built_in_seconds": built}
    return Report(
        [
            _ratio("thread: newest page of a long one", rounds, detail),
            _one_scan("thread", plans, "messages_v2_seq_key"),
        ]
    )


def _thread(over: Database, place: int) -> _Call:
    return _Call(over, "public.get_messages", {"p_conversation_id": _thread_id(place), "p_limit": _PAGE})


def _thread_id(place: int) -> UUID:
    return identity(CONVERSATION, 1_000_000 + place)


def _filled(on: Stand, name: str, size: int, *, busy: int) -> AbstractAsyncContextManager[asyncpg.Connection]:
    """A database of `size` conversations: helper 1 has `busy` of them, the others 10 each, as most people have few."""
    members = 1 + (size - busy) // _SMALL_EACH
    return database(
        on, name, members=members, requests=busy, each=_SMALL_EACH, busy=busy, owners=max(OWNERS, busy // _SMALL_EACH)
    )


@asynccontextmanager
async def _seam(on: Stand, name: str) -> AsyncIterator[Database]:
    """The seam of a web process, over one connection."""
    pool = await make_pool(on.url("care_app", name), size=1)
    try:
        yield Database(pool)
    finally:
        pool.terminate()


async def _rounds(name: str, calls: list[_Call], effort: Effort, tell: Tell) -> list[list[float]]:
    """The median milliseconds of each call, by round. The calls take turns, one by one, so that all meet the same."""
    for call in calls * _WARM:
        await call.milliseconds()
    rounds = []
    for number in range(1, effort.rounds + 1):
        tell(f"{name}: round {number} of {effort.rounds}")
        times: list[list[float]] = [[] for _ in calls]
        end = time.perf_counter() + effort.seconds
        while time.perf_counter() < end:
            for call, taken in zip(calls, times, strict=True):
                taken.append(await call.milliseconds())
        rounds.append([median(taken) for taken in times])
    return rounds


def _ratio(name: str, rounds: list[list[float]], detail: dict[str, Any]) -> Row:
    return at_most(
        name,
        middle([times[0] / times[1] for times in rounds]),
        _MOST,
        large_ms=middle([times[0] for times in rounds]),
        small_ms=middle([times[1] for times in rounds]),
        ratios=[round(times[0] / times[1], 3) for times in rounds],
        **detail,
    )


def _one_scan(name: str, plans: list[dict[str, Any]], index: str) -> Row:
    """Whether the page's own query takes its rows from one scan of `index`, and nothing else reads more than a few."""
    page = next(plan for plan in plans if "limit p_limit" in plan["Query Text"])
    table = next(node["Relation Name"] for node in _nodes([page]) if node.get("Index Name") == index)
    scans = [node for node in _nodes([page]) if node.get("Relation Name") == table]
    through = [node["Relation Name"] for node in _nodes(plans) if "Relation Name" in node and _read(node) > _FEW]
    return at_least(
        f"{name}: the page is one index scan",
        int([scan.get("Index Name") for scan in scans] == [index] and _read(scans[0]) <= _PAGE + 1 and not through),
        1,
        scans="; ".join(f"{scan['Node Type']} of {table}, {_read(scan):g} rows" for scan in scans),
        more_read_from=", ".join(sorted(set(through))) or "nothing",
    )


def _read(node: dict[str, Any]) -> float:
    """How many rows a node went through each time."""
    return float(node["Actual Rows"] + node.get("Rows Removed by Filter", 0))


async def _plans(owner: asyncpg.Connection, call: str) -> list[dict[str, Any]]:
    """The plans of all statements that a call runs, as helper 1 makes it."""
    found: list[dict[str, Any]] = []

    def listen(_: object, message: asyncpg.PostgresLogMessage) -> None:
        head, _, plan = message.message.partition("plan:\n")
        if head.startswith("duration:"):
            found.append(json.loads(plan))

    owner.add_log_listener(listen)
    claims = {
        "sub": str(identity(HELPER, 1)),
        "role": "authenticated",
        "app_metadata": {"community_id": str(COMMUNITY_ID)},
    }
    async with owner.transaction():
        await owner.execute("load 'auto_explain'")
        for name, value in {
            "plan_cache_mode": "force_generic_plan",  # what a connection of the pool comes to after a few calls
            "auto_explain.log_min_duration": "0",
            "auto_explain.log_nested_statements": "on",
            "auto_explain.log_analyze": "on",
            "auto_explain.log_format": "json",
            "auto_explain.log_level": "notice",
            "request.jwt.claims": json.dumps(claims),
        }.items():
            await owner.execute("select set_config($1, $2, true)", name, value)
        await owner.execute(call)
    owner.remove_log_listener(listen)
    return found


def _nodes(plans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every node of the plans, inner ones too."""
    nodes, left = [], [plan["Plan"] for plan in plans]
    while left:
        node = left.pop()
        nodes.append(node)
        left += node.get("Plans", [])
    return nodes
