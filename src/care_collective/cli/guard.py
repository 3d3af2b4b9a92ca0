"""The commands of the guard: what its rules would do by chance (simulate) and would have done (replay)."""

import sys
from typing import TYPE_CHECKING, TextIO

import rich_click as click

from care_collective.cli.show import json_option, progress, show_json, show_table

if TYPE_CHECKING:
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
@click.option(
    "--csv",
    "file",
    type=click.File(encoding="utf-8-sig"),
    required=True,
    help="Attempts as rows; - is the standard input.",
)
@json_option
def replay(*, file: TextIO, as_json: bool) -> None:
    """Run the guard's rules over attempts that have been: when each would have acted, how late, whether falsely.

    The columns of a CSV: at (2026-03-01T09:30:00Z, or seconds since 1970), version (v1, v2), success (true, false),
    code (of what did not succeed, such as server_error), user; and, where you have them, kind (success, failure,
    answer, shared) and duration_ms. Only rows of v2 are judged. The delay runs from the first failure of the rise that
    led to the act; false says that of the next 100 attempts at most 1 % failed.

    Exit 0 says that no rule would have rolled back, 1 that one would, 2 that the rows cannot be read.

    \b
    Examples:
      care-collective rollout replay --csv attempts.csv
      care-collective rollout replay --csv attempts.csv --json
    """
    from care_collective.errors import SettingsError
    from care_collective.rollout.guard.replay import BadRows, read_csv
    from care_collective.rollout.guard.replay import replay as run_rules

    try:
        outcomes = read_csv(file)
    except (BadRows, UnicodeDecodeError) as error:
        raise SettingsError(f"{file.name}: {error}") from error
    found = run_rules(outcomes)
    if as_json:
        show_json(
            {
                "attempts": found.attempts,
                "failures": found.failures,
                "false_trips": found.false_trips,
                "acts": found.acts,
            }
        )
    else:
        _show(found)
    sys.exit(1 if any(act.action == "rollback" for act in found.acts) else 0)


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
