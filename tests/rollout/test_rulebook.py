"""The guard's rules in operators' hands, and the commands of the guard."""

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from care_collective.cli.guard import replay, simulate
from care_collective.db.call import Database
from care_collective.errors import CareError, Code, SettingsError
from care_collective.rollout.guard import rulebook, simulation
from care_collective.rollout.guard.rules import RULES
from rollout.conftest import FLAG, Deployment


async def test_a_rule_is_changed_by_name_recorded_and_audited(deployed: Deployment) -> None:
    owner = Database(deployed.care.owner)
    await rulebook.change_rule(
        owner, FLAG, "slow", {"p95_ms": 800}, None, reason="A slower machine", by=None, login="olga"
    )
    await rulebook.change_rule(owner, FLAG, "slow", {}, True, reason="Only watch", by=None, login="olga")
    shown = {rule.rule: rule for rule in await rulebook.read_rules(owner, FLAG)}
    assert list(shown) == list(RULES)
    assert shown["slow"].thresholds == {**RULES["slow"].thresholds, "p95_ms": 800}
    assert (shown["slow"].dry_run, shown["slow"].updated_by) == (True, "command line, olga")
    assert shown["detector"] == rulebook.Shown("detector", "rollback", RULES["detector"].thresholds)
    assert [change["words"] for change in await deployed.changes("rule")] == ["A slower machine", "Only watch"]
    audited = "select count(*) from care.audit_log where action = 'rollout.rule' and allowed"
    assert await deployed.care.owner.fetchval(audited) == 2


async def test_who_is_no_operator_changes_no_rule(deployed: Deployment) -> None:
    with pytest.raises(CareError) as raised:
        await rulebook.change_rule(
            Database(deployed.care.owner), FLAG, "slow", {}, True, reason="x", by="no@example.org", login="olga"
        )
    assert raised.value.code is Code.PERMISSION_DENIED
    assert await deployed.changes("rule") == []


@pytest.mark.parametrize(
    ("rule", "pair", "words"),
    [
        ("slowly", "p95_ms=1", "There is no rule slowly; there are violation, probe"),
        ("slow", "p95=1", "slow has no threshold p95; it has p95_ms, attempts, minutes."),
        ("slow", "p95_ms=fast", "p95_ms: a number from 0 up, not 'fast'."),
        ("slow", "p95_ms=nan", "not 'nan'"),
        ("slow", "p95_ms=-1", "not '-1'"),
    ],
)
def test_what_a_rule_does_not_have_is_refused_in_words(rule: str, pair: str, words: str) -> None:
    with pytest.raises(CareError) as raised:
        rulebook.read_thresholds(rule, [pair])
    assert words in raised.value.message


async def test_recorded_history_is_replayed_in_the_order_of_closing(deployed: Deployment) -> None:
    await deployed.attempts("+" * 3 + "--")
    await deployed.attempts("----", version="v1")
    await deployed.attempts("-", ago=10.0)  # still open
    found = await rulebook.read_history(Database(deployed.care.owner), None)
    assert [outcome.kind for outcome in found] == ["success"] * 3 + ["failure"] * 2
    assert found == sorted(found, key=lambda outcome: outcome.at)


CSV = "at,version,success,code,user\n" + "".join(f"{n},v2,false,server_error,helper {n}\n" for n in range(4))


def test_the_command_replays_a_csv(tmp_path: Path) -> None:
    file = tmp_path / "attempts.csv"
    file.write_text(CSV)
    shown = CliRunner().invoke(replay, ["--csv", str(file)])
    assert shown.exit_code == 1
    assert "4 of the last 4 offers" in shown.output
    assert "4 attempts in V2, 4 failed; 0 false rollbacks." in shown.output
    found = json.loads(CliRunner().invoke(replay, ["--csv", "-", "--json"], input=CSV).output)
    assert [act["rule"] for act in found["acts"]] == ["detector"]
    assert found["acts"][0]["delay_seconds"] == 3.0


def test_the_command_names_bad_rows_with_their_lines() -> None:
    wrong = CSV + "later,v2,true,,ann\n"
    result = CliRunner().invoke(replay, ["--csv", "-"], input=wrong)
    assert isinstance(result.exception, SettingsError)  # exit 2, by main
    assert "line 6: at is a time" in str(result.exception)


def test_the_command_shows_a_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "TRIALS", 40)
    monkeypatch.setattr(simulation, "TRAFFIC", (12,))
    shown = CliRunner().invoke(simulate, ["--weeks", "2", "--seed", "5", "--json"])
    report = json.loads(shown.stdout)
    assert (report["seed"], report["weeks"]) == (5, 2)
    assert len(report["false_trips"]) == len(simulation.WATCHERS) * len(simulation.SOUND)
    again = simulation.simulate(seed=5, weeks=2)
    assert json.loads(msgspec.json.encode(again)) == report
