"""The numbers of a rollout over HTTP: for operators alone, one value for page, command and programs."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from care_collective.db.call import Database
from care_collective.rollout.kpis import Kpis, look
from care_collective.web.metrics import exposition
from care_collective.web.services import Services
from database.test_outcomes import Node
from harness import Care
from web.test_rollout import audited, operator_of
from web.test_verbs import refused, shaped
from web_harness import bearer, browser, services_for

KPIS = "/api/ops/kpis"


@pytest.fixture
def engine() -> str:
    """The numbers are of both engines: one stage is enough."""
    return "v2"


@pytest.fixture
async def node(scratch: Care) -> AsyncIterator[Services]:
    """A node that the environment tells nothing, on a database of its own."""
    services = services_for(scratch)
    await services.flags.refresh()
    yield services
    await services.close()


async def changed(care: Care, node: Services, action: str, **arguments: Any) -> None:  # noqa: ANN401
    """An operator's change, which this node has in force then."""
    made = await care.owner.fetchval(
        "select care.change_rollout($1, $2, 'otto@example.org', null) ->> 'success'", action, _json(arguments)
    )
    assert made == "true", (action, arguments)
    await node.flags.refresh()


def _json(arguments: dict[str, Any]) -> str:
    return json.dumps({"reason": "A test.", **arguments})


async def told(care: Care, version: str, kind: str, count: int, code: str | None = None) -> None:
    """Attempts of two minutes ago."""
    counter = Node(care)
    await counter.record([counter.event((uuid4(), uuid4()), 120, kind, code, version=version) for _ in range(count)])


async def test_operators_alone_see_the_numbers_and_looking_leaves_a_line_only_where_it_was_refused(
    scratch: Care, node: Services
) -> None:
    town = await scratch.town()
    operator, member = await operator_of(town), await town.member("Mia")
    async with browser(node, town) as client:
        refused(await client.get(KPIS), 401, "unauthenticated")
        refused(await client.get(KPIS, headers=bearer(member)), 403, "permission_denied", "role")
        shaped(await client.get(KPIS, headers=bearer(operator)), Kpis)
        refused(await client.get(f"{KPIS}?exact=perhaps", headers=bearer(operator)), 400, "validation_error")
    assert await audited(scratch) == [("a member", "rollout.kpis", False)]


async def test_the_numbers_of_a_stage_and_whether_it_may_end(scratch: Care, node: Services) -> None:
    town = await scratch.town()
    operator = await operator_of(town)

    async def seen(query: str = "") -> Kpis:
        async with browser(node, town) as client:
            answer: Kpis = shaped(await client.get(f"{KPIS}{query}", headers=bearer(operator)), Kpis)
        return answer

    empty = await seen()
    assert (empty.in_force, empty.share, empty.numbers.v2.success_rate, empty.guard.level) == ("off", 0, None, None)
    assert b"care_guard_level" not in await exposition(node)  # not known, and no 0
    assert empty.exit is not None
    # Nothing has looked at the rows since they were made an hour ago: that is no data, and not sound.
    await scratch.owner.execute("update care.rollout_checks set looked_until = now() - interval '1 hour'")
    unseen = await seen()
    assert (unseen.guard.watching, unseen.exit and unseen.exit.may_go_on) == (False, False)
    await node.guard.look()
    watched = await seen()
    assert (watched.guard.watching, watched.exit and watched.exit.may_go_on) == (True, True)

    await changed(scratch, node, "set", stage="percentage:10")
    await scratch.owner.execute("update care.rollout_flags set stage_since = stage_since - interval '1 day'")
    await told(scratch, "v2", "success", 40)
    await told(scratch, "v1", "success", 60)
    await node.guard.look()
    well = await seen()
    assert (well.in_force, well.share, well.numbers.v2.attempts) == ("percentage:10", 10, 40)
    assert [(day.v1, day.v2, day.share) for day in well.numbers.adoption] == [(60, 40, 0.4)]
    assert well.guard.level is not None
    assert well.guard.calm_level < well.guard.level < 20  # it begins above, and falls to calm
    metrics = (await exposition(node)).decode()
    assert f"\ncare_guard_level {well.guard.level}\n" in metrics
    assert "\ncare_violations 0.0\n" in metrics
    assert well.exit is not None
    states = {one.name: one.state for one in well.exit.criteria}
    assert states == {
        "success": "met", "speed": "no_data", "codes": "met", "violations": "met", "attempts": "met",
    }  # fmt: skip
    await told(scratch, "v2", "failure", 1, "rpc_error")
    failing = await seen()
    assert failing.exit is not None
    assert {one.name: one.state for one in failing.exit.criteria}["codes"] == "not_met"

    # Stopped, the numbers are still those that led to it, and no stage may end.
    await changed(scratch, node, "kill", why="errors")
    stopped = await seen()
    assert (stopped.in_force, stopped.share, stopped.exit) == ("off", 0, None)
    assert (stopped.rollout.stopped, stopped.rollout.stopped_by and stopped.rollout.stopped_by.why) == (
        "killed",
        "errors",
    )
    began = await scratch.owner.fetchval("select max(at) from care.rollout_changes where action = 'set'")
    assert stopped.numbers.since == began
    # What the command shows is the same value.
    assert (await look(Database(scratch.owner), "messaging_v2")).in_force == "off"


async def test_the_guards_rules_are_those_in_force_and_violations_are_counted_when_asked(
    scratch: Care, node: Services
) -> None:
    town = await scratch.town()
    operator = await operator_of(town)
    await changed(scratch, node, "rule", rule="detector", thresholds='{"level": 2000000}', dry_run="true")
    helper = await town.member("Hal")
    opened = await helper.offer_v2(await town.request(await town.member("Olga")))
    await node.guard.look()
    await scratch.owner.execute(
        "update public.conversations_v2 set last_seq = 7, created_at = created_at where id = $1",
        opened["conversation_id"],
    )
    async with browser(node, town) as client:
        quick: Kpis = shaped(await client.get(KPIS, headers=bearer(operator)), Kpis)
        exact: Kpis = shaped(await client.get(f"{KPIS}?exact=true", headers=bearer(operator)), Kpis)
    (detector,) = [rule for rule in quick.guard.rules if rule.rule == "detector"]
    assert (quick.guard.trip_level, detector.dry_run, detector.updated_by) == (2_000_000, True, "otto@example.org")
    assert [found.numbers.violations for found in (quick, exact)] == [0, 1]
    assert exact.exit is not None
    assert not exact.exit.may_go_on


async def test_a_stage_that_cannot_be_read_is_off_and_no_stage_that_may_end(scratch: Care, node: Services) -> None:
    await scratch.owner.execute("update care.rollout_flags set stage = 'true\n'")
    await node.flags.refresh()
    found = await look(Database(scratch.owner), "messaging_v2")
    assert (found.rollout.readable, found.in_force, found.exit) == (False, "off", None)
