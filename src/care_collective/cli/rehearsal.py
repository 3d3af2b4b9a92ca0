"""The command rehearse: breaks V2 on a scratch deployment, and shows what became of it."""

import sys
from typing import TYPE_CHECKING

import rich_click as click

from care_collective.cli.show import json_option, progress, run, show_json, show_table

if TYPE_CHECKING:
    from care_collective.rehearsal.rehearse import Outcome

_FAULTS = ("violation", "raising", "killed-backends", "latency")


@click.command()
@click.option("--fault", type=click.Choice([*_FAULTS, "all"]), default="all", show_default=True, help="What breaks.")
@click.option("--seed", default=1, show_default=True, help="Who offers and writes when, and at which node.")
@click.option("--nodes", type=click.IntRange(1, 5), default=3, show_default=True, help="How many processes serve.")
@json_option
def rehearse(*, fault: str, seed: int, nodes: int, as_json: bool) -> None:
    """Break V2 on a scratch deployment with members who talk, and see the guard roll it back.

    Prints fault, detection, and the last node switched; then asks for every conversation and message that was
    acknowledged, and for violations. Has its own database and processes in a temporary folder and touches no
    deployment. Of latency the rules only warn: there a warning is what is expected, and V2 stays open. A fault takes up
    to a minute; detection by the probe takes 20 to 35 seconds of it.

    Exit 0 says that each was detected and switched as expected, and that nothing was lost or hidden; else 1.

    \b
    Examples:
      care-collective rollout rehearse
      care-collective rollout rehearse --fault violation --json
    """
    from care_collective.rehearsal.rehearse import rehearse as run_rehearsal

    names = _FAULTS if fault == "all" else (fault,)
    with progress() as tell:
        outcomes = run(run_rehearsal(names, seed=seed, nodes=nodes, tell=tell))
    well = all(outcome.well for outcome in outcomes)
    if as_json:
        show_json({"well": well, "outcomes": outcomes})
    else:
        _show(outcomes)
    sys.exit(0 if well else 1)


def _show(outcomes: "list[Outcome]") -> None:
    show_table(
        ("fault", "", "by", "detected", "offers", "failed", "last node", "lost"),
        [
            (
                one.fault,
                "as expected" if one.well else "NOT WELL",
                "nobody" if one.detected is None else f"{one.detected.action}: {one.detected.rule}",
                "never" if one.detected is None else f"{one.detected.seconds:.1f} s",
                one.attempts,
                one.failed,
                "stays open" if one.expected == "warn" else _seconds(one.switched_seconds),
                f"{len(one.missing)} of {one.conversations} conversations and {one.messages} messages",
            )
            for one in outcomes
        ],
    )
    for one in outcomes:
        click.echo(f"\n{one.fault}: {one.words}.")
        if one.detected is not None:
            click.echo(f"  {one.detected.words}.")
        after = ", ".join(f"{count} {engine}" for engine, count in sorted(one.opened_after.items())) or "none"
        click.echo(f"  Offers after that: {after}. Of {one.tried_again} that had failed {one.well_then} opened then.")
        click.echo(f"  Refused or failed messages: {one.failed_sends}. Violations left: {len(one.violations)}.")
        for line in one.missing:
            click.echo(f"  Missing: {line}")


def _seconds(seconds: float | None) -> str:
    return "silent" if seconds is None else f"{seconds:.2f} s"
