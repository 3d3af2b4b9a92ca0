"""The rehearsal breaks V2, sees it rolled back, and would say so where a word were missing."""

from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from care_collective.bench.stand import identity
from care_collective.cli import group
from care_collective.rehearsal import rehearse
from care_collective.rehearsal.rehearse import Found, Outcome
from care_collective.rollout.switch import Reach


async def test_a_violation_is_found_rolled_back_on_every_node_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, less in (("_CALM_SECONDS", 0.5), ("_AFTER_SECONDS", 1), ("REQUESTS", 400)):
        monkeypatch.setattr(rehearse, name, less)
    async with rehearse.scratch_site(seed=1, nodes=2, tell=lambda _: None) as site:
        seen = await rehearse.rehearse_one(site, "violation", tell=lambda _: None)
        assert seen.well, seen
        assert seen.detected is not None
        assert (seen.detected.action, seen.detected.rule) == ("trip", "violation")
        assert (len(seen.nodes), seen.failed, set(seen.opened_after)) == (2, 0, {"v1"})
        assert seen.switched_seconds is not None
        assert seen.messages > seen.conversations > 0

        opened = [thread for thread in site.members.threads if thread.version == "v2"]
        hidden, changed = opened[0], next(thread for thread in opened[1:] if thread.words)
        await site.admin.execute("delete from public.conversation_members where conversation_id = $1", hidden.id)
        await site.admin.execute("update public.messages_v2 set content = 'x' where id = $1", next(iter(changed.words)))
        missing = await site.members.missing()
        assert {line for line in missing if str(hidden.id) in line} >= {
            f"conversation {hidden.id} in the inbox of {one}" for one in (hidden.helper, hidden.owner)
        }
        assert f"message {next(iter(changed.words))}" in missing


SEEN = Outcome(
    fault="raising",
    words="V2's function raises",
    expected="trip",
    detected=Found("trip", "probe", "The probe failed 3 times running", {"times": 3}, 24.2),
    attempts=40,
    failed=39,
    nodes=[],
    opened_after={"v1": 9},
    tried_again=39,
    well_then=39,
    conversations=60,
    messages=130,
    failed_sends=0,
    missing=[],
    violations=[],
    well=True,
)


@pytest.mark.parametrize(("well", "code"), [(True, 0), (False, 1)])
def test_the_command_ends_by_whether_all_went_as_expected(
    monkeypatch: pytest.MonkeyPatch, well: bool, code: int
) -> None:
    asked: list[Any] = []

    async def run(names: tuple[str, ...], **options: object) -> list[Outcome]:
        asked.append((names, options["seed"], options["nodes"]))
        return [msgspec.structs.replace(SEEN, well=well, missing=[] if well else ["message 1"])]

    monkeypatch.setattr(rehearse, "rehearse", run)
    shown = CliRunner().invoke(group, ["rollout", "rehearse", "--fault", "raising", "--seed", "7"])
    assert shown.exit_code == code
    assert asked == [(("raising",), 7, 3)]
    assert ("as expected" in shown.output, "NOT WELL" in shown.output) == (well, not well)
    assert ("Missing: message 1" in shown.output) == (not well)
    as_json = CliRunner().invoke(group, ["rollout", "rehearse", "--json"])
    assert msgspec.json.decode(as_json.stdout)["well"] is well
    assert asked[1][0] == ("violation", "raising", "killed-backends", "latency")


@pytest.mark.parametrize(
    "wrong",
    [
        {"detected": None},
        {"nodes": []},
        {"opened_after": {}},
        {"opened_after": {"v1": 9, "v2": 1}},
        {"well_then": 38},
        {"failed_sends": 1},
        {"missing": ["message 1"]},
    ],
    ids=str,
)
def test_nothing_less_counts_as_well(wrong: dict[str, Any]) -> None:
    node = Reach(identity(1, 1), "one", 0.01, "off", "database:killed")
    whole = msgspec.structs.replace(SEEN, nodes=[node])
    assert rehearse._well(whole)
    assert not rehearse._well(msgspec.structs.replace(whole, **wrong))
