"""The flag in a process: followed by notification and by a poll beneath it, kept when nothing can be read."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from structlog.testing import capture_logs

from care_collective.db.listen import Listener
from care_collective.errors import CareError, Code
from care_collective.rollout import policy
from care_collective.rollout.node import this_node
from care_collective.rollout.policy import Declared, Source, Stage
from care_collective.rollout.provider import IN_COHORT, RolloutProvider
from care_collective.rollout.store import STALE_SECONDS, FlagStore
from engines.stage import waiting
from harness import Care

SECOND = "second_flag"


def a_store(care: Care, declared: Declared = Declared(), **options: Any) -> FlagStore:  # noqa: ANN401, B008
    """A process's store that nobody has told to follow yet."""
    return FlagStore(
        care.database, Listener(care.server.dsn(user="care_app", database=care.name)), this_node(), declared, **options
    )


@asynccontextmanager
async def following(store: FlagStore, *, deaf: bool = False) -> AsyncIterator[None]:
    """The store follows, with its listener unless it is to be deaf."""
    work = [store.follow()] if deaf else [store.follow(), store._listener.run()]
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition: half as long at most as a poll takes that is set to a minute."""
    ends = monotonic() + 30
    while not condition():
        assert monotonic() < ends
        await asyncio.sleep(0.002)


async def command(care: Care, action: str, *, by: str | None = None, **arguments: str) -> dict[str, Any]:
    """A change from the command line."""
    text = await care.owner.fetchval(
        "select care.command_rollout($1, $2, $3, 'tester')", action, json.dumps({"reason": "A test"} | arguments), by
    )
    return json.loads(text)  # type: ignore[no-any-return]


async def test_a_change_is_in_force_by_notification_and_reported(scratch: Care) -> None:
    store = a_store(scratch, poll_seconds=60)
    async with following(store):
        await until(lambda: store._listener.connected and store.generation == 1)
        assert store.decide() == policy.Decision(policy.OFF, Source.DATABASE_STAGE)
        changed = await command(scratch, "set", stage="percentage:50")
        await until(lambda: store.generation == changed["generation"])
        assert store.decide().stage == Stage("percentage", 5000)

        async def reported() -> list[tuple[int, str, str]]:
            rows = await scratch.owner.fetch("select generation, stage, source from care.rollout_nodes")
            return [tuple(row) for row in rows]

        ends = monotonic() + 30
        while await reported() != [(changed["generation"], "percentage:50", "database:stage")]:
            assert monotonic() < ends
    assert await scratch.owner.fetchval("select count(*) from care.rollout_nodes") == 0, "it has said goodbye"


async def test_without_a_listener_the_poll_brings_a_change(scratch: Care) -> None:
    store = a_store(scratch, poll_seconds=60)
    async with following(store, deaf=True):
        await until(lambda: store.generation == 1)
        await command(scratch, "set", stage="on")
        await until(lambda: store.decide().stage == policy.ON)


async def test_garbage_in_the_database_is_off_and_an_alarm(scratch: Care) -> None:
    store = a_store(scratch)
    for text in ("true", "", "percentage:150", "ON", "percentage:10.005"):
        await scratch.owner.execute("update care.rollout_flags set stage = 'on'")
        await store.refresh()
        assert store.decide().stage == policy.ON
        await scratch.owner.execute("update care.rollout_flags set stage = $1", text)
        with capture_logs() as logged:
            await store.refresh()
        assert (store.decide().stage, store.decide().alarm) == (policy.OFF, True)
        assert [line["log_level"] for line in logged if line["event"] == "rollout.flag"] == ["error"]
        assert await scratch.owner.fetchval("select alarm from care.rollout_nodes")
    # What a person sets then is readable again.
    assert (await command(scratch, "set", stage="internal"))["success"]
    await store.refresh()
    assert store.decide() == policy.Decision(policy.INTERNAL, Source.DATABASE_STAGE)


async def test_off_in_the_environment_beats_all_and_a_stop_beats_on(scratch: Care) -> None:
    nodes = [a_store(scratch, Declared(False, policy.ON)), a_store(scratch, Declared(True)), a_store(scratch)]
    await command(scratch, "set", stage="percentage:100")
    for node in nodes:
        await node.refresh()
    assert [str(node.decide().source) for node in nodes] == [
        "environment:enabled", "environment:stage", "database:stage",
    ]  # fmt: skip
    assert (await command(scratch, "kill", why="errors"))["success"]
    for node in nodes:
        await node.refresh()
    assert {str(node.decide().stage) for node in nodes} == {"off"}
    assert [str(node.decide().source) for node in nodes] == [
        "environment:enabled", "database:killed", "database:killed",
    ]  # fmt: skip


async def test_a_node_that_cannot_read_keeps_what_it_knows_and_says_so(scratch: Care) -> None:
    now = 0.0
    store = a_store(scratch, clock=lambda: now)
    await command(scratch, "set", stage="on")
    await store.refresh()
    await scratch.owner.execute("alter function care.read_flags() rename to gone")
    with pytest.raises(CareError) as refused:
        await store.refresh()
    assert refused.value.code is Code.RPC_ERROR
    assert (store.decide().stage, store.stale) == (policy.ON, False)
    now = STALE_SECONDS + 1
    with pytest.raises(CareError):
        await store.refresh()
    assert (store.decide().stage, store.stale) == (policy.ON, True)
    await scratch.owner.execute("alter function care.gone() rename to read_flags")
    with suppress(CareError):
        await store.refresh()
    assert not store.stale


# --- OpenFeature


async def test_every_row_is_a_flag_for_openfeature_and_a_second_one_needs_no_code(scratch: Care) -> None:
    town = await scratch.town()
    named, other = await town.member("Nell"), await town.member()
    await scratch.owner.execute("insert into care.rollout_flags (name, stage) values ($1, 'percentage:50')", SECOND)
    store = a_store(scratch)
    api.set_provider(RolloutProvider(store), "care")
    client = api.get_client("care")
    await store.refresh()

    def asked(flag: str, *contexts: EvaluationContext | None) -> list[bool]:
        return [client.get_boolean_value(flag, False, context) for context in contexts]

    members = [uuid4() for _ in range(200)]
    half = Stage.parse("percentage:50")
    assert asked(SECOND, *(EvaluationContext(str(member)) for member in members)) == [
        policy.uses_v2(half, member, in_cohort=False, flag=SECOND) for member in members
    ]
    spelt = [EvaluationContext(str(member).upper()) for member in members]
    assert asked(SECOND, *spelt) == asked(SECOND, *(EvaluationContext(str(member)) for member in members))
    assert asked("messaging_v2", None, EvaluationContext(str(named.user_id))) == [False, False]
    await command(scratch, "set", stage="internal")
    await store.refresh()
    with_role = EvaluationContext(str(other.user_id), {IN_COHORT: True})
    assert asked("messaging_v2", EvaluationContext(str(named.user_id)), with_role) == [False, True]
    email = await scratch.owner.fetchval("select email from care.users where id = $1", named.user_id)
    assert (await command(scratch, "cohort_add", email=email))["success"]
    await store.refresh()
    # With names the cohort is the names.
    assert asked("messaging_v2", EvaluationContext(str(named.user_id)), with_role, None) == [True, False, False]
    assert client.get_boolean_details("messaging_v2", False, EvaluationContext(str(named.user_id))).variant == "on"
    # The default where there is no such flag, no such member, or no such type.
    assert client.get_boolean_value("no_such_flag", True) is True
    assert client.get_boolean_value("messaging_v2", True, EvaluationContext("nobody")) is True
    assert client.get_string_value("messaging_v2", "words") == "words"
    api.clear_providers()


# --- Changes


async def test_of_two_kills_at_once_one_acts_and_the_other_is_told(scratch: Care) -> None:
    connection = await scratch.connect()
    async with connection.transaction():
        await connection.execute(
            'select care.command_rollout(\'kill\', \'{"why": "errors", "reason": "It fails"}\', null, \'first\')'
        )
        second = asyncio.create_task(command(scratch, "kill", why="security"))
        await waiting(scratch)
    told = await second
    assert (told["error"], told["reason"]) == ("conflict", "state")
    assert "by command line, first" in told["message"]
    await connection.close()
    assert await scratch.owner.fetchval("select count(*) from care.rollout_changes where action = 'kill'") == 1
    assert await scratch.owner.fetch("select actor, allowed from care.audit_log order by at") == [
        ("command line, first", True), ("command line, tester", False),
    ]  # fmt: skip


async def test_the_guard_stops_only_what_it_has_judged(scratch: Care) -> None:
    async def trip(generation: int) -> dict[str, Any]:
        answer = await scratch.database.call(
            "care.stop_rollout", p_flag="messaging_v2", p_action="trip", p_actor="guard", p_actor_id=None,
            p_why="detector", p_words="V2 fails", p_numbers='{"level": 1000001}', p_node_id=uuid4(),
            p_expected_generation=generation,
        )  # fmt: skip
        return json.loads(answer.text)  # type: ignore[no-any-return]

    changed = await command(scratch, "set", stage="on")
    assert (await trip(changed["generation"] - 1))["error"] == "conflict"
    tripped = await trip(changed["generation"])
    assert tripped["generation"] == changed["generation"] + 1
    assert (await trip(tripped["generation"]))["error"] == "conflict"
    assert await scratch.owner.fetchval("select stopped from care.rollout_flags") == "tripped"
    actions = await scratch.owner.fetch("select action, from_stage, to_stage from care.rollout_changes order by at")
    assert [tuple(row) for row in actions] == [("set", "off", "on"), ("trip", "on", "off")]


WRONG: list[tuple[str, dict[str, str], str]] = [
    ("set", {"stage": "nearly"}, "stage"), ("set", {"stage": "percentage:abc"}, "stage"),
    ("set", {"stage": "percentage:150"}, "stage"), ("set", {"stage": "percentage:-5"}, "stage"),
    ("set", {"stage": "percentage:10.005"}, "stage"), ("set", {}, "stage"),
    ("set", {"stage": "on", "reason": " \u2800 "}, "reason"),
    ("set", {"stage": "on", "reason": "x" * 1001}, "reason"),
    ("kill", {}, "why"), ("kill", {"why": "boredom"}, "why"), ("kill", {"why": "errors", "reason": ""}, "reason"),
    ("cohort_add", {"email": "nobody@example.org"}, "email"), ("cohort_add", {}, "email"),
    ("set", {"stage": "on", "flag": "third_flag"}, "flag"), ("dance", {}, "action"),
]  # fmt: skip


async def test_what_is_wrong_is_said_in_words_and_changes_nothing(scratch: Care) -> None:
    before = await scratch.owner.fetchval("select care.read_flags()")
    for number, (action, arguments, field) in enumerate(WRONG, start=1):
        answer = await command(scratch, action, **arguments)
        assert (answer["error"], set(answer["fields"])) == ("validation_error", {field}), (action, arguments)
        assert answer["message"][0].isupper()
        assert answer["message"].endswith(".")
        assert await scratch.owner.fetchval("select care.read_flags()") == before
        audited = await scratch.owner.fetch("select actor, action, allowed from care.audit_log order by at")
        assert len(audited) == number
        assert tuple(audited[-1]) == ("command line, tester", f"rollout.{action}", False)
    assert await scratch.owner.fetchval("select count(*) from care.rollout_changes") == 0


async def test_what_the_state_forbids_is_told(scratch: Care) -> None:
    async def told(action: str, **arguments: str) -> str:
        answer = await command(scratch, action, **arguments)
        assert (answer["error"], answer["reason"]) == ("conflict", "state"), answer
        return str(answer["message"])

    assert "not stopped" in await told("resume")
    assert "already" in await told("set", stage="off")
    await command(scratch, "set", stage="percentage:12.50")
    assert "percentage:12.5 already" in await told("set", stage="percentage:12.5")
    await command(scratch, "kill", why="data-loss")
    assert "Resume it first" in await told("set", stage="on")
    resumed = await command(scratch, "resume")
    assert resumed["success"]
    assert await scratch.owner.fetchval("select stage from care.rollout_flags") == "internal"
    await a_store(scratch, Declared(None, policy.ON)).refresh()
    assert "The environment of" in await told("set", stage="on")
    # A node that was last seen too long ago declares nothing any more.
    await scratch.owner.execute("update care.rollout_nodes set seen_at = now() - interval '1 minute'")
    assert (await command(scratch, "set", stage="on"))["success"]


async def test_only_an_operator_may_be_named_as_the_one_who_acts(scratch: Care) -> None:
    town = await scratch.town()
    member = await town.member("Mia")
    email = await scratch.owner.fetchval("select email from care.users where id = $1", member.user_id)
    refused = await command(scratch, "set", by=email, stage="on")
    assert (refused["error"], refused["reason"]) == ("permission_denied", "role")
    await scratch.owner.execute("insert into care.operators values ($1, 'a test')", member.user_id)
    assert (await command(scratch, "set", by=email.upper(), stage="on"))["success"]
    changed = await scratch.owner.fetchrow("select actor, actor_id, words from care.rollout_changes")
    assert tuple(changed) == (email, member.user_id, "A test")
    assert await scratch.owner.fetch("select allowed from care.audit_log order by at") == [(False,), (True,)]
