"""The commands of the guard: what its rules would do by chance and would have done, and the rules themselves."""

import sys
from datetime import UTC, datetime
from getpass import getuser
from typing import TYPE_CHECKING, TextIO

import rich_click as click

from care_collective.cli.owner import as_owner
from care_collective.cli.show import (
    by_option,
    flag_option,
    json_option,
    progress,
    reason_option,
    show_json,
    show_table,
)

if TYPE_CHECKING:
    from care_collective.rollout.guard.evidence import Outcome
    from care_collective.rollout.guard.replay import Replay


@click.command()
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same figures on every machine.")
@click.option("--weeks", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="Weeks without fault.")
@json_option
def simulate(*, seed: int, weeks: int, as_json: bool) -> None:
    """Try the guard's detector by chance: how soon it trips when V2 fails, how often falsely when it does not.

    Beside it stand the plan's own rule (under 85 % in 10 minutes) and a window over the last 20 offers. Takes about
    two minutes and no database; docs/detector.md shows the result and what it means.

    \b
    Examples:
      care-collective rollout simulate
      care-collective rollout simulate --seed 7 --weeks 100 --json
    """
    from care_collective.rollout.guard.simulation import simulate as run_simulation
    from care_collective.rollout.guard.simulation import tables

    with progress() as tell:
        report = run_simulation(seed=seed, weeks=weeks, tell=tell)
    if as_json:
        show_json(report)
    else:
        click.echo(tables(report))


@click.command()
@click.option("--csv", "file", type=click.File(encoding="utf-8-sig"), help="Attempts as rows; - is standard input.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]), help="Of the history: from then, UTC.")
@json_option
def replay(*, file: TextIO | None, since: datetime | None, as_json: bool) -> None:
    """Run the guard's rules over attempts that have been: when each would have acted, how late, whether falsely.

    The attempts are those that the database has recorded, or a CSV's. Its columns: at (2026-03-01T09:30:00Z, or seconds
    since 1970), version (v1, v2), success (true, false), code (of what did not succeed, such as server_error), user;
    and, where you have them, kind (success, failure, answer, shared) and duration_ms. Only rows of v2 are judged. The
    delay runs from the first failure of the rise that led to the act; false says that of the next 100 attempts at most
    1 % failed. Rules are as the release has them.

    Exit 0 says that no rule would have rolled back, 1 that one would, 2 that the rows cannot be read.

    \b
    Examples:
      care-collective rollout replay --since 2026-03-01
      care-collective rollout replay --csv attempts.csv --json
    """
    from care_collective.rollout.guard.replay import replay as run_rules

    found = run_rules(_read(file) if file is not None else _recorded(since))
    if as_json:
        numbers = {"attempts": found.attempts, "failures": found.failures, "false_trips": found.false_trips}
        show_json({**numbers, "acts": found.acts})
    else:
        _show(found)
    sys.exit(1 if any(act.action == "rollback" for act in found.acts) else 0)


def _read(file: TextIO) -> "list[Outcome]":
    from care_collective.errors import SettingsError
    from care_collective.rollout.guard.replay import BadRows, read_csv

    try:
        return read_csv(file)
    except (BadRows, UnicodeDecodeError) as error:
        raise SettingsError(f"--csv: {error}") from error


def _recorded(since: datetime | None) -> "list[Outcome]":
    from care_collective.rollout.guard.rulebook import read_history

    return as_owner(lambda owner: read_history(owner, since and since.replace(tzinfo=UTC)))


def _show(found: "Replay") -> None:
    from care_collective.rollout.guard.replay import shown_time

    judged = {None: "unknown", True: "false", False: "true"}
    if found.acts:
        show_table(
            ("at", "rule", "action", "delay", "attempts", "alarm", "why"),
            [
                (
                    shown_time(act.at),
                    act.rule,
                    act.action,
                    "" if act.delay_seconds is None else f"{act.delay_seconds:.0f} s",
                    act.delay_attempts,
                    judged[act.false],
                    act.words,
                )
                for act in found.acts
            ],
        )
    click.echo(f"{found.attempts} attempts in V2, {found.failures} failed; {found.false_trips} false rollbacks.")


@click.group()
def rule() -> None:
    """See and change the rules by which the guard warns and rolls back."""


@rule.command("list")
@flag_option
@json_option
def list_(*, flag: str, as_json: bool) -> None:
    """List every rule: what it does, its thresholds, whether it runs dry, who changed it.

    \b
    Example:
      care-collective rollout rule list
    """
    from care_collective.rollout.guard.rulebook import read_rules

    rules = as_owner(lambda owner: read_rules(owner, flag))
    if as_json:
        show_json({"rules": rules})
        return
    show_table(
        ("rule", "does", "thresholds", "dry run", "changed by"),
        [
            (
                r.rule,
                r.action,
                " ".join(f"{k}={v:.10g}" for k, v in r.thresholds.items()),
                r.dry_run or None,
                r.updated_by,
            )
            for r in rules
        ],
    )


@rule.command("set")
@click.argument("name")
@click.argument("thresholds", nargs=-1, metavar="[THRESHOLD=NUMBER]...")
@click.option("--dry-run/--live", default=None, help="Only say what it would have done, or do it.")
@reason_option
@by_option
@flag_option
def set_(
    *, name: str, thresholds: tuple[str, ...], dry_run: bool | None, reason: str, by: str | None, flag: str
) -> None:
    """Change thresholds of a rule, or whether it runs dry. Every node judges by it within seconds.

    \b
    Examples:
      care-collective rollout rule set slow p95_ms=800 --why "The new machine is slower"
      care-collective rollout rule set complaints --dry-run --why "A campaign asks everybody to report"
    """
    from care_collective.rollout.guard.rulebook import change_rule, read_thresholds

    changed = read_thresholds(name, thresholds)
    if not changed and dry_run is None:
        raise click.UsageError("Say what to change: THRESHOLD=NUMBER, --dry-run or --live.")
    as_owner(lambda owner: change_rule(owner, flag, name, changed, dry_run, reason=reason, by=by, login=getuser()))
    click.echo(f"The rule {name} is changed. See it: care-collective rollout rule list")
