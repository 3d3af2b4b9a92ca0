"""What V1 left half opened is mended beside its helper's retry; V1 retires, and off means paused."""

import asyncio
import json
from typing import Any

import pytest

from care_collective.db.call import Database
from care_collective.errors import Code, words
from care_collective.operations import legacy
from engines.stage import V1, V2, half_open, held, recipient, waiting
from engines.test_legacy import pair, talked
from harness import FIRST_WORDS, Care, Town

pytestmark = pytest.mark.alike

REPAIR = "select care.repair_orphan($1, $2, 3600, 'a test')"
AGE = "update public.conversations set updated_at = updated_at - interval '2 hours' where community_id = $1"


# --- Mending


async def test_an_orphan_is_removed_recorded_and_its_helper_offers_anew(town: Town) -> None:
    _, helper, request = await pair(town)
    orphan = await half_open(helper, request, key="tap")
    assert await town.care.owner.fetchval(REPAIR, town.community_id, orphan) is False  # too young
    await town.care.owner.execute(AGE, town.community_id)
    assert await town.care.owner.fetchval(REPAIR, town.community_id, orphan) is True
    assert await town.care.violations(town.community_id) == []
    line = await town.care.owner.fetchrow("select action, actor from care.audit_log where subject = $1", str(orphan))
    assert tuple(line) == ("legacy.repair", "a test")
    again = await V1.offer(helper, request, key="tap")
    assert again.success
    assert again.conversation_id != orphan
    assert await town.care.owner.fetchval(REPAIR, town.community_id, orphan) is False


@pytest.mark.parametrize("engine", [V1, V2], ids=lambda engine: engine.version)
async def test_a_retry_that_waited_for_the_repair_opens_anew(town: Town, engine: Any) -> None:  # noqa: ANN401
    _, helper, request = await pair(town)
    orphan = await half_open(helper, request, key="tap")
    await town.care.owner.execute(AGE, town.community_id)
    connection = await town.care.connect()
    async with connection.transaction():
        assert await connection.fetchval(REPAIR, town.community_id, orphan) is True
        retry = asyncio.create_task(engine.offer(helper, request, key="tap"))
        await waiting(town.care)
    await connection.close()
    result = await retry
    assert (result.success, result.version) == (True, engine.version)
    assert await town.care.violations(town.community_id) == []


async def test_a_repair_keeps_off_a_retry_between_its_steps(town: Town) -> None:
    _, helper, request = await pair(town)
    orphan = await half_open(helper, request)
    await town.care.owner.execute(AGE, town.community_id)
    assert await half_open(helper, request) == orphan  # the retry's first two steps
    assert await town.care.owner.fetchval(REPAIR, town.community_id, orphan) is False
    done = await helper.call(
        "legacy_write_first_message",
        conversation_id=orphan,
        recipient_id=await recipient(helper, request),
        content=FIRST_WORDS,
    )
    assert done["success"]
    await town.care.owner.execute(AGE, town.community_id)
    assert await town.care.owner.fetchval(REPAIR, town.community_id, orphan) is False


async def test_repair_mends_what_doctor_says_it_mends(scratch: Care) -> None:
    town = await scratch.town()
    _, helper, conversation = await talked(town)
    await half_open(helper, await town.request(await town.member()))
    await scratch.owner.execute(AGE, town.community_id)
    await scratch.owner.execute(
        "update public.conversation_members set unread = 7 where conversation_id = $1", conversation
    )
    owner = Database(scratch.owner)
    expected = ["orphan", "unread_sum", "unread_sum"]
    tried = await legacy.repair(owner, older_seconds=3600, actor="a test", dry_run=True)
    assert ([one.kind for one in tried], {one.done for one in tried}) == (expected, {False})
    assert sorted(kind for kind, _ in await scratch.violations()) == expected
    mended = await legacy.repair(owner, older_seconds=3600, actor="a test")
    assert ([one.kind for one in mended], {one.done for one in mended}) == (expected, {True})
    assert await scratch.violations() == []
    assert await legacy.repair(owner, older_seconds=3600, actor="a test") == []


# --- Retirement


async def retire(care: Care, action: str = "retire", **arguments: str) -> dict[str, Any]:
    """Retires V1 or takes it back, by the command line's function."""
    given = {"reason": "It is time", **arguments}
    answer = await Database(care.owner).call(
        "care.command_rollout", p_action=action, p_arguments=json.dumps(given), p_as=None, p_login="a test"
    )
    refusal = answer.refusal()
    return {"error": None if refusal is None else refusal.message}


async def test_v1_retires_after_44_quiet_days_at_on_and_not_before(scratch: Care) -> None:
    town = await scratch.town()
    status = (await legacy.status(Database(scratch.owner)))["retire"]
    assert (status["may"], status["from"]) == (False, None)  # off, and nobody has offered yet
    stage = "update care.rollout_flags set stage = 'on', stage_since = now() - $1::text::interval"
    await scratch.owner.execute(stage, "43 days 23 hours")
    assert "may not retire before" in (await retire(scratch))["error"]
    await scratch.owner.execute(stage, "45 days")
    assert (await legacy.status(Database(scratch.owner)))["retire"]["may"] is True

    await talked(town)  # V1 has opened one today
    assert (await legacy.status(Database(scratch.owner)))["retire"]["may"] is False
    assert "may not retire before" in (await retire(scratch))["error"]
    await legacy.move(Database(scratch.owner), None, actor="a test")
    assert (await legacy.status(Database(scratch.owner)))["retire"]["may"] is False
    await scratch.owner.execute("update care.legacy_moves set opened_at = opened_at - interval '45 days'")
    await scratch.owner.execute("update care.rollout_flags set stopped = 'killed'")
    assert "may not retire yet" in (await retire(scratch))["error"]
    await scratch.owner.execute("update care.rollout_flags set stopped = null")
    assert (await retire(scratch))["error"] is None
    assert "retired already" in (await retire(scratch))["error"]


async def test_off_is_paused_once_v1_is_retired_and_threads_go_on(scratch: Care) -> None:
    town = await scratch.town()
    owner, helper, conversation = await talked(town)
    request = await town.request(owner)
    orphan = await half_open(helper, await town.request(owner))
    assert (await retire(scratch, force="true"))["error"] is None
    facade = held(scratch, "off")
    result = await facade.start_help_conversation(helper.caller(), request, FIRST_WORDS)
    assert (result.error, result.reason) == (Code.UNAVAILABLE, "paused")
    assert result.message == words(Code.UNAVAILABLE, "paused")
    assert await town.count("public.conversations", f"help_request_id = '{request}'") == 0
    assert (await helper.send(conversation, "Still here"))["success"]
    assert (await V2.offer(helper, request)).success
    assert orphan is not None

    await scratch.owner.execute("update public.communities set is_probe = true where id = $1", town.community_id)
    probe = await facade.start_help_conversation(helper.caller(), await town.request(owner), FIRST_WORDS)
    assert probe.success  # the guard compares the engines
    await scratch.owner.execute("update public.communities set is_probe = false where id = $1", town.community_id)

    assert (await retire(scratch, "unretire"))["error"] is None
    assert (
        await facade.start_help_conversation(helper.caller(), await town.request(owner), FIRST_WORDS)
    ).version == "v1"
    assert "not retired" in (await retire(scratch, "unretire"))["error"]
    actions = await scratch.owner.fetch("select action from care.rollout_changes order by generation")
    assert [row["action"] for row in actions] == ["retire", "unretire"]


async def test_status_counts_openings_orphans_and_states(scratch: Care) -> None:
    town = await scratch.town()
    owner, helper, conversation = await talked(town)
    await owner.call("close_conversation", conversation_id=conversation)
    orphan = await half_open(helper, await town.request(owner))
    attempt = (
        "insert into care.engine_outcomes (id, community_id, help_request_id, user_id, version, endpoint, opened_at, "
        "kind, duration_ms, node_id) select gen_random_uuid(), $1, gen_random_uuid(), gen_random_uuid(), $2, 'start', "
        "now() - $3::text::interval, $4, 1, gen_random_uuid()"
    )
    for version, ago, kind in (
        ("v1", "0 days", "success"), ("v2", "0 days", "success"), ("v2", "0 days", "failure"),
        ("v2", "13 days", "success"), ("v1", "14 days", "success"), ("v1", "50 days", "success"),
    ):  # fmt: skip
        await scratch.owner.execute(attempt, town.community_id, version, ago, kind)
    found = await legacy.status(Database(scratch.owner))
    assert found["conversations"] == {"closed": 1}
    assert [o["conversation_id"] for o in found["orphans"]] == [str(orphan)]
    assert found["openings"] == {"last_14_days": {"v1": 1, "v2": 2}, "last_44_days": {"v1": 2, "v2": 2}}
    assert len(found["days"]) == 44
    assert (found["days"][-1]["v1"], found["days"][-1]["v2"]) == (1, 1)
