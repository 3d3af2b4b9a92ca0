"""The live guard: it goes back once and by itself when V2 fails, and does nothing without evidence."""

import asyncio
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from care_collective.db.call import Database
from care_collective.db.listen import Listener
from care_collective.db.pool import make_pool
from care_collective.errors import CareError, Code
from care_collective.rollout.guard.detector import Detector
from care_collective.rollout.outcomes import Attempt
from care_collective.web.services import make_services
from rollout.conftest import FLAG, Deployment, make_guard
from web_harness import SETTINGS


async def test_four_failures_of_four_helpers_roll_back_in_plain_words(deployed: Deployment) -> None:
    await deployed.attempts("+----")
    verdict = await deployed.guard.look()
    assert (verdict.action, verdict.rule) == ("rollback", "detector")
    assert await deployed.stopped() == "tripped"
    (change,) = await deployed.changes("trip")
    assert change["actor"] == "guard"
    assert change["why"] == "detector"
    assert change["words"] == "4 of the last 4 offers in the new engine failed (server_error), from 4 helpers"
    assert '"helpers": 4' in change["numbers"]
    assert change["told_at"] is None


async def test_three_failures_do_nothing_and_a_fourth_counts_after_a_restart_too(deployed: Deployment) -> None:
    await deployed.attempts("+---")
    assert (await deployed.guard.look()).action == "none"
    assert await deployed.stopped() is None
    await deployed.attempts("-")
    assert (await deployed.another().look()).action == "rollback"


async def test_what_is_not_closed_yet_is_no_evidence(deployed: Deployment) -> None:
    await deployed.attempts("-" * 9, ago=50.0)
    assert (await deployed.guard.look()).action == "hold"
    await deployed.care.owner.execute("update care.engine_outcomes set opened_at = opened_at - interval '15 seconds'")
    assert (await deployed.guard.look()).action == "rollback"


async def test_failures_of_one_helper_roll_nothing_back(deployed: Deployment) -> None:
    await deployed.attempts("-" * 9, helpers=[uuid4()])
    await deployed.guard.look()
    assert await deployed.stopped() is None


@pytest.mark.parametrize(("pattern", "version"), [("-" * 30, "v1"), ("=" * 30, "v2"), ("?" * 30, "v2")])
async def test_v1_shared_failures_and_answers_never_trip_v2(deployed: Deployment, pattern: str, version: str) -> None:
    await deployed.attempts("+" * 30, version="v2")
    await deployed.attempts(pattern, version=version, code="unavailable")
    assert (await deployed.guard.look()).action == "none"
    assert await deployed.stopped() is None


async def test_without_data_it_holds_and_it_never_advances(deployed: Deployment) -> None:
    assert (await deployed.guard.look()).action == "hold"
    await deployed.care.owner.execute("update care.rollout_flags set stage = 'percentage:10'")
    await deployed.attempts("+" * 200)
    assert (await deployed.guard.look()).action == "none"
    assert await deployed.care.owner.fetchval("select stage from care.rollout_flags") == "percentage:10"
    assert await deployed.care.owner.fetchval("select count(*) from care.rollout_changes") == 0


async def test_of_many_nodes_one_acts_and_each_attempt_is_judged_once(deployed: Deployment) -> None:
    pools = [
        await make_pool(deployed.care.server.dsn(user="care_app", database=deployed.care.name), size=2)
        for _ in range(4)
    ]
    nodes = [deployed.another(Database(pool)) for pool in pools]
    await deployed.attempts("+" * 40)
    await asyncio.gather(*(node.look() for node in nodes))
    assert await deployed.care.owner.fetchval("select judged from care.rollout_detectors") == 40
    await deployed.attempts("-" * 6)
    await asyncio.gather(*(node.look() for _ in range(3) for node in nodes))
    assert await deployed.care.owner.fetchval("select judged from care.rollout_detectors") == 46
    assert len(await deployed.changes("trip")) == 1
    for pool in pools:
        await pool.close()


async def test_who_judged_an_older_state_stores_nothing(deployed: Deployment) -> None:
    await deployed.attempts("+++")
    await deployed.guard.look()
    await deployed.attempts("-")
    await deployed.another().look()
    stored = await deployed.care.owner.fetchrow("select * from care.rollout_detectors")
    late = await deployed.care.database.value(
        "care.guard_keep", p_flag=FLAG, p_generation=stored["generation"] - 1, p_since=None, p_levels=[0.0] * 4,
        p_judged=3, p_rise="{}", p_ids=[],
    )  # fmt: skip
    assert late is False
    assert await deployed.care.owner.fetchrow("select * from care.rollout_detectors") == stored


async def test_it_acts_on_a_level_that_another_node_stored_before_it_died(deployed: Deployment) -> None:
    state = Detector()
    for helper in ("ann", "bea", "cid", "dan"):
        state = state.failed(helper, "server_error")
    await deployed.care.owner.execute(
        "insert into care.rollout_detectors (flag, version, levels, judged, rise, since, generation) "
        "values ($1, 'v2', $2, 4, $3, '-infinity', 1)",
        FLAG,
        list(state.levels),
        '{"attempts": 4, "codes": {"server_error": 4}, "helpers": ["ann", "bea", "cid", "dan"]}',
    )
    assert (await deployed.guard.look()).rule == "detector"
    assert await deployed.stopped() == "tripped"


async def test_a_rollback_stays_until_a_person_resumes_and_what_was_before_is_past(deployed: Deployment) -> None:
    await deployed.attempts("-" * 6)
    await deployed.guard.look()
    assert (await deployed.guard.look()).action == "hold"
    assert await deployed.stopped() == "tripped"

    await deployed.resume()
    await deployed.attempts("-" * 6, ago=70.0)  # a node that wrote late
    for _ in range(2):
        assert (await deployed.guard.look()).action == "hold"
    assert await deployed.stopped() is None
    await deployed.attempts("+", ago=0.0)
    assert (await deployed.guard.look()).action == "none"
    assert await deployed.care.owner.fetchval("select count(*) from care.engine_outcomes where judged_at is null") == 0

    await deployed.care.owner.execute("update care.rollout_changes set at = at - interval '10 minutes'")
    await deployed.care.owner.execute("update care.rollout_detectors set since = since - interval '10 minutes'")
    await deployed.attempts("----")
    assert (await deployed.guard.look()).action == "rollback"
    words = (await deployed.changes("trip"))[-1]["words"]
    assert words.startswith("4 of the last 4 offers")


async def test_attempts_ahead_of_the_clock_are_no_evidence(deployed: Deployment) -> None:
    await deployed.attempts("+" * 25, ago=-3600.0, ms=900.0)
    verdict = await deployed.guard.look()
    assert [finding.rule for finding in verdict.findings] == ["no_data"]
    assert await deployed.stopped() is None


async def test_while_the_database_is_away_nothing_is_done_and_health_says_so(deployed: Deployment) -> None:
    pool = await make_pool(deployed.care.server.dsn(user="care_app", database=deployed.care.name), size=1)
    now = [0.0]
    guard = make_guard(Database(pool), clock=lambda: now[0])
    await deployed.attempts("-" * 6)
    await pool.close()
    with pytest.raises(CareError):
        await guard.look()
    watching = asyncio.create_task(guard.watch(every_seconds=0.01))
    await _logged("guard.cannot_look", times=4)  # by looks and by turns at the probe
    assert not watching.done()
    assert guard.state == "watching"
    now[0] = 31.0
    assert guard.state == "blind"
    watching.cancel()
    assert await deployed.stopped() is None


async def test_a_rule_in_a_dry_run_says_once_what_it_would_have_done(deployed: Deployment) -> None:
    await deployed.care.owner.fetchval(
        "select care.change_rule($1, 'detector', '{}', true, 'Olga', null, 'Watch it first.')", FLAG
    )
    await deployed.attempts("-" * 6)
    for _ in range(2):
        await deployed.guard.look()
    assert await deployed.stopped() is None
    assert [change["words"][:52] for change in await deployed.changes("warn")] == [
        "Dry run, nothing was done; would have rolled back: 6"
    ]


async def test_a_changed_threshold_holds_at_the_next_look_and_is_recorded(deployed: Deployment) -> None:
    changed = '{"level": 1e9}'
    await deployed.care.owner.fetchval(
        "select care.change_rule($1, 'detector', $2, null, 'Olga', null, 'Too nervous.')", FLAG, changed
    )
    await deployed.attempts("-" * 4)
    assert (await deployed.guard.look()).action == "none"
    await deployed.attempts("-" * 2)
    assert (await deployed.guard.look()).action == "rollback"
    (change,) = await deployed.changes("rule")
    assert (change["actor"], change["why"], change["words"]) == ("Olga", "detector", "Too nervous.")


async def test_what_no_rule_can_read_is_a_fault_that_ends_nothing(deployed: Deployment) -> None:
    await deployed.care.owner.execute(
        "insert into care.rollout_rules (flag, rule, thresholds, updated_by) values ($1, 'detector', $2, 'by hand')",
        FLAG,
        '{"level": "many"}',
    )
    await deployed.attempts("-" * 6)
    watching = asyncio.create_task(deployed.guard.watch(every_seconds=0.01))
    await _logged("guard.fault", times=2)
    assert await deployed.stopped() is None
    await deployed.care.owner.execute("delete from care.rollout_rules")
    await _until_stopped(deployed)
    watching.cancel()


async def test_a_warning_is_told_once_an_episode(deployed: Deployment) -> None:
    await deployed.attempts("+" * 18 + "--", helpers=[uuid4()])
    for node in (deployed.guard, deployed.another(), deployed.guard):
        assert (await node.look()).action == "warn"
    assert [change["why"] for change in await deployed.changes("warn")] == ["failing", "one_code"]
    for ago, expected in (("14 minutes", 2), ("16 minutes", 4)):
        await deployed.care.owner.execute(f"update care.rollout_episodes set seen_at = seen_at - interval '{ago}'")
        await deployed.guard.look()
        assert len(await deployed.changes("warn")) == expected
    assert await deployed.stopped() is None


async def test_complaints_of_three_in_a_community_of_ten_roll_back_and_those_about_v1_do_not(
    deployed: Deployment,
) -> None:
    town = await deployed.care.town()
    people = [await town.member(f"Member{n}") for n in range(10)]
    report = "insert into care.problem_reports (community_id, user_id, version) values ($1, $2, $3)"
    for person in people[:9]:
        await deployed.care.owner.execute(report, town.community_id, person.user_id, "v1")
    for person in (people[0], people[0], people[1]):
        await deployed.care.owner.execute(report, town.community_id, person.user_id, "v2")
    assert (await deployed.guard.look()).action == "hold"
    await deployed.care.owner.execute(report, town.community_id, people[2].user_id, None)
    verdict = await deployed.guard.look()
    assert (verdict.action, verdict.rule) == ("rollback", "complaints")
    assert verdict.words == "3 of the 10 members of a community reported problems within an hour"


async def test_a_pool_used_up_by_calls_that_hang_keeps_the_guard_from_nothing(deployed: Deployment) -> None:
    """Failures are written, looked at and acted on while members' calls hold every connection of their pool."""
    dsn = deployed.care.server.dsn(user="care_app", database=deployed.care.name)
    pool = await make_pool(dsn, size=1)
    used_up = Database(pool, acquire_seconds=0.1)
    services = make_services(SETTINGS, used_up, Listener(dsn), reserved=deployed.care.database)
    async with pool.acquire():  # a real call would give up after two seconds
        for _ in range(4):
            services.outcomes.opened(_failed())
        await services.outcomes.flush()
        await deployed.care.owner.execute("update care.engine_outcomes set opened_at = now() - interval '2 minutes'")
        # The probe goes the members' way, and finds it shut for either engine.
        await services.guard.probe()
        verdict = await services.guard.look()
    assert (verdict.action, verdict.rule) == ("rollback", "detector")
    assert await deployed.stopped() == "tripped"
    assert await deployed.care.owner.fetchval("select v1_too from care.rollout_probes") == 1
    await services.close()
    await pool.close()


async def test_the_watch_trips_once_the_evidence_is_there(deployed: Deployment) -> None:
    watching = asyncio.create_task(deployed.guard.watch(every_seconds=0.05))
    await _until(deployed, "select due_at > now() from care.rollout_checks")  # it has looked, and found nothing
    await deployed.attempts("----")
    await _until_stopped(deployed)
    watching.cancel()


def _failed() -> Attempt:
    return Attempt(
        community_id=None,
        help_request_id=uuid4(),
        user_id=uuid4(),
        version="v2",
        endpoint="start-conversation",
        duration_ms=10_000,
        code=Code.UNAVAILABLE,
    )


async def _logged(event: str, *, times: int) -> None:
    """Returns once this has been logged so often."""
    with capture_logs() as logged:
        async with asyncio.timeout(30):
            while sum(line["event"] == event for line in logged) < times:  # noqa: ASYNC110  a log has no event
                await asyncio.sleep(0)


async def _until_stopped(deployed: Deployment) -> None:
    await _until(deployed, "select stopped is not null from care.rollout_flags where name = 'messaging_v2'")


async def _until(deployed: Deployment, query: str) -> None:
    async with asyncio.timeout(30):
        while not await deployed.care.owner.fetchval(query):  # noqa: ASYNC110  rows, no event
            await asyncio.sleep(0.02)


async def test_a_member_who_is_refused_all_the_time_hides_no_failure(deployed: Deployment) -> None:
    await deployed.attempts("-+" * 12, helpers=[uuid4()])  # one helper's failures: the detector waits for another's
    await deployed.attempts("?" * 250, helpers=[uuid4()], ago=70.0, code="not_found")
    verdict = await deployed.guard.look()
    assert (verdict.action, verdict.rule) == ("rollback", "success")


async def test_one_person_in_many_communities_is_one_who_complains(deployed: Deployment) -> None:
    towns = [await deployed.care.town() for _ in range(12)]
    person = await towns[0].member("Ann")
    for town in towns:
        for name in ("Ben", "Cho", "Dan"):
            await town.member(name)
        await deployed.care.owner.execute(
            "insert into public.profiles (community_id, user_id, display_name, verification_status) "
            "values ($1, $2, 'Ann', 'approved') on conflict do nothing",
            town.community_id,
            person.user_id,
        )
        await deployed.care.owner.execute(
            "insert into care.problem_reports (community_id, user_id, version) values ($1, $2, 'v2')",
            town.community_id,
            person.user_id,
        )
    assert (await deployed.guard.look()).action == "hold"
    assert await deployed.stopped() is None
