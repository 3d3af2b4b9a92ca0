"""Whether a page stays as quick in a large database: the inbox of a busy member, the newest page of a long thread.

One connection of pgbench calls the function in the large and in the small case in turn; the figure is the median of
the rounds' ratios of time. The plan of the page's own query is looked at: one index scan, no sort, no table read
through.
"""

import json
import time
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import asyncpg

from care_collective.bench import pgbench
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
    identity,
    stand,
)

CONVERSATIONS: Final = 1_000_000
MESSAGES: Final = 100_000
_MOST: Final = 1.5
_SHARE: Final = 100  # a busy member has one of so many parts of all conversations
_SMALL, _SMALL_EACH = 1_000, 10
_PAGE: Final = 50
_FEW: Final = 100  # a table of so few rows is read through because that is quickest


async def measure_inbox(effort: Effort, *, size: int = CONVERSATIONS, tell: Tell) -> Report:
    """The rows of the inbox: a member with a hundredth of `size` conversations against one with 10 of 1,000."""
    async with stand(tell=tell) as on:
        tell(f"Making {size:,} conversations")
        began = time.perf_counter()
        each = max(_SMALL_EACH, size // _SHARE)
        async with (
            _filled(on, "large", helpers=max(1, size // each), each=each) as large,
            _filled(on, "small", helpers=_SMALL // _SMALL_EACH, each=_SMALL_EACH),
        ):
            built = round(time.perf_counter() - began, 1)
            pairs = await _rounds(on, "inbox", ("large", 1), ("small", 1), effort, tell)
            plans = await _plans(large, "select public.list_conversations()")
    detail = {"conversations": size, "of_the_member": each, "built_in_seconds": built}
    return Report(
        [
            _ratio("inbox: busy member, large database", pairs, detail),
            _one_scan("inbox", plans, "conversation_members_inbox_idx"),
        ]
    )


async def measure_thread(effort: Effort, *, size: int = MESSAGES, tell: Tell) -> Report:
    """The rows of a thread: the newest page of 50 of `size` messages against a thread of 50."""
    async with stand(tell=tell) as on:
        tell(f"Making a thread of {size:,} messages")
        began = time.perf_counter()
        async with _filled(on, "threads", helpers=1, each=2) as owner:
            for place, number in ((1, size), (2, _PAGE - 1)):
                await owner.fetchval("select bench.make_messages(1, $1, $2, $3)", place, OWNERS, number, timeout=600)
            await owner.execute("vacuum analyze", timeout=600)
            built = round(time.perf_counter() - began, 1)
            pairs = await _rounds(on, "thread", ("threads", 1), ("threads", 2), effort, tell)
            conversation_id = identity(CONVERSATION, 1_000_001)
            plans = await _plans(owner, f"select public.get_messages('{conversation_id}')")
    detail = {"messages": size, "built_in_seconds": built}
    return Report(
        [_ratio("thread: newest page of a long one", pairs, detail), _one_scan("thread", plans, "messages_v2_seq_key")]
    )


def _filled(on: Stand, name: str, *, helpers: int, each: int) -> AbstractAsyncContextManager[asyncpg.Connection]:
    return database(on, name, members=helpers, requests=each, each=each)


async def _rounds(
    on: Stand,
    script: str,
    large: tuple[str, int],
    small: tuple[str, int],
    effort: Effort,
    tell: Tell,
) -> list[tuple[float, float]]:
    """Milliseconds a call, in turn in the large and the small case: a database and the request of the thread in it."""
    pairs = []
    for number in range(1, effort.rounds + 1):
        tell(f"{script}: round {number} of {effort.rounds}")
        times = [
            (await pgbench.run(on, name, script, connections=1, seconds=effort.seconds, thread=thread)).milliseconds
            for name, thread in (large, small)
        ]
        pairs.append((times[0], times[1]))
    return pairs


def _ratio(name: str, pairs: list[tuple[float, float]], detail: dict[str, Any]) -> Row:
    return at_most(
        name,
        middle([large / small for large, small in pairs]),
        _MOST,
        large_ms=middle([large for large, _ in pairs]),
        small_ms=middle([small for _, small in pairs]),
        ratios=[round(large / small, 3) for large, small in pairs],
        **detail,
    )


def _one_scan(name: str, plans: list[dict[str, Any]], index: str) -> Row:
    """Whether the page's own query takes its rows from one scan of `index`, and nothing reads a table through."""
    page = next(plan for plan in plans if "limit p_limit" in plan["Query Text"])
    table = next(node["Relation Name"] for node in _nodes([page]) if node.get("Index Name") == index)
    scans = [node for node in _nodes([page]) if node.get("Relation Name") == table]
    through = [
        node["Relation Name"] for node in _nodes(plans) if node["Node Type"] == "Seq Scan" and _read(node) > _FEW
    ]
    return at_least(
        f"{name}: the page is one index scan",
        int([scan.get("Index Name") for scan in scans] == [index] and _read(scans[0]) <= _PAGE + 1 and not through),
        1,
        scans="; ".join(f"{scan['Node Type']} of {table}, {_read(scan):g} rows" for scan in scans),
        tables_read_through=", ".join(sorted(set(through))) or "none",
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
