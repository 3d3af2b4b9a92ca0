"""rollout.md, numbers shown: both engines side by side, and no data where there is none."""

import json
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from database.steps import V1, V2, Engine, legacy_steps
from database.test_outcomes import Node
from harness import Care, Person, Town

pytestmark = pytest.mark.alike


async def numbers(care: Care, since: str | None = "30 days") -> dict[str, Any]:
    """The numbers since so long ago, or since the stage began."""
    text = await care.owner.fetchval("select care.rollout_numbers('messaging_v2', now() - $1::text::interval)", since)
    return json.loads(text)  # type: ignore[no-any-return]


async def test_without_attempts_there_is_no_data(scratch: Care) -> None:
    found = await numbers(scratch)
    for version in ("v1", "v2"):
        engine = found[version]
        assert (engine["attempts"], engine["offers"], engine["complaints"]) == (0, 0, 0)
        for name in ("success_rate", "success_low", "success_high", "p50_ms", "p95_ms", "p99_ms", "complaints_per_100",
                     "answered_rate"):  # fmt: skip
            assert engine[name] is None, name
    assert (found["adoption"], found["orphans"], found["violations"]) == ([], 0, 0)
    # Since its stage began: the flag's own moment.
    since = await scratch.owner.fetchval("select to_jsonb(stage_since) #>> '{}' from care.rollout_flags")
    assert (await numbers(scratch, None))["since"] == since


async def test_both_engines_are_counted_side_by_side(scratch: Care) -> None:
    node = Node(scratch)

    async def told(version: str, kind: str, count: int, code: str | None = None, *, age: float = 120) -> None:
        pairs = [(uuid4(), uuid4()) for _ in range(count)]
        await node.record([node.event(pair, age, kind, code, version=version) for pair in pairs])

    await told("v1", "success", 6)
    await told("v1", "failure", 4, "server_error")
    await told("v2", "success", 18)
    await told("v2", "failure", 1, "unavailable")
    await told("v2", "failure", 1, "rpc_error")
    await told("v2", "failure", 5, "rpc_error", age=30)  # open: a success can still mend it
    await told("v2", "shared", 3, "unavailable")
    await told("v2", "answer", 2, "conversation_exists")
    histogram = [0] * 25
    histogram[9], histogram[18] = 19, 1  # 20 to 25 ms, one to 500 ms
    minute = {"slot": 0, "age_ms": 0, "version": "v2", "verb": "open", "code": "success", "calls": 20}
    text = msgspec.json.encode([{**minute, "histogram": histogram}]).decode()
    await scratch.database.value("care.record_minutes", p_node_id=node.node_id, p_minutes=text)

    found = await numbers(scratch)
    v1, v2 = found["v1"], found["v2"]
    assert (v1["attempts"], v1["success_rate"], v1["failure_codes"]) == (10, 0.6, {"server_error": 4})
    assert (v2["attempts"], v2["successes"], v2["success_rate"]) == (20, 18, 0.9)
    assert 0.69 < v2["success_low"] < 0.71
    assert 0.97 < v2["success_high"] < 0.98
    assert (v2["shared"], v2["answers"]) == (3, 2)
    assert v2["failure_codes"] == {"unavailable": 1, "rpc_error": 1}
    assert v2["answer_codes"] == {"conversation_exists": 2}
    assert 20 < v2["p50_ms"] <= 25
    assert (v2["p95_ms"], v1["p95_ms"]) == (25, None)
    assert 400 < v2["p99_ms"] <= 500
    (day,) = found["adoption"][-1:]
    assert (sum(d["v1"] for d in found["adoption"]), sum(d["v2"] for d in found["adoption"])) == (6, 18)
    assert (sum(d["v1_failures"] for d in found["adoption"]), sum(d["v2_failures"] for d in found["adoption"])) == (
        4,
        2,
    )
    assert day["share"] == round(day["v2"] / (day["v1"] + day["v2"]), 4)


async def _opened(engine: Engine, town: Town, owner: Person, *, days_ago: int) -> tuple[Person, str]:
    """An offer of so long ago."""
    helper = await town.member("Hal")
    conversation = await engine.opened(helper, await town.request(owner))
    await town.care.owner.execute(
        f"update {engine.conversations} set created_at = created_at - $1::integer * interval '1 day' where id = $2",
        days_ago, conversation,
    )  # fmt: skip
    return helper, str(conversation)


async def test_offers_answered_within_three_days_and_complaints_beside_them(scratch: Care) -> None:
    town = await scratch.town()
    owner = await town.member("Olga")
    for engine in (V1, V2):
        await _opened(engine, town, owner, days_ago=1)  # has had no three days
        await _opened(engine, town, owner, days_ago=5)  # nobody answered
        for answer in ("send", "decline_offer", "accept_offer", "too late", "helper"):
            helper, conversation = await _opened(engine, town, owner, days_ago=5)
            if answer in ("send", "too late"):
                await owner.send(conversation, "Yes, please")
            elif answer == "helper":
                await helper.send(conversation, "Are you there?")
            else:
                await owner.call(answer, conversation_id=conversation)
            if answer not in ("too late", "helper"):
                await scratch.owner.execute(
                    "update public.messages set created_at = now() - interval '4 days' where seq > 0 "
                    "and conversation_id = $1", conversation
                )  # fmt: skip
                await scratch.owner.execute(
                    "update public.messages_v2 set created_at = now() - interval '4 days' where conversation_id = $1",
                    conversation,
                )
                await scratch.owner.execute(
                    f"update {engine.conversations} set updated_at = now() - interval '4 days' where id = $1",
                    conversation,
                )
                await scratch.owner.execute(
                    "update public.help_requests set in_progress_at = now() - interval '4 days' "
                    "where in_progress_at > now() - interval '1 hour'"
                )
        await owner.call("report_problem", conversation_id=conversation)
    await legacy_steps(await town.member(), await town.request(owner), steps=2)
    node = Node(scratch)
    await node.record([node.event((uuid4(), uuid4()), 1, "success", version=v) for v in ("v1", "v2", "v2")])

    found = await numbers(scratch)
    for version, per_100 in (("v1", 100), ("v2", 50)):
        engine = found[version]
        assert (engine["offers"], engine["answered"], engine["answered_rate"]) == (6, 3, 0.5), version
        assert (engine["complaints"], engine["complaints_per_100"]) == (1, per_100)
    assert (found["complaining_members_last_hour"], found["orphans"], found["violations"]) == (1, 1, 0)
    await scratch.owner.execute(
        "update public.conversations_v2 set last_seq = last_seq + 1 where id = $1", conversation
    )
    # The guard has not looked since; what was asked for is counted there and then.
    assert (await numbers(scratch))["violations"] == 0
    exact = json.loads(await scratch.owner.fetchval("select care.rollout_kpis('messaging_v2', true)"))["numbers"]
    assert (exact["violations"], "sequence_gap" in exact["violation"]) == (1, True)
