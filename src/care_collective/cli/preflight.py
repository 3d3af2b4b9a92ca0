"""The commands before a stage and after a rollback: preflight, incident."""

import sys
from typing import TYPE_CHECKING

import rich_click as click

from care_collective.cli.owner import beside
from care_collective.cli.show import flag_option, json_option, second, settings, show_json, show_table, spoken

if TYPE_CHECKING:
    from uuid import UUID

    from care_collective.rollout.incident import Incident
    from care_collective.rollout.policy import Stage


@click.command()
@click.argument("stage", required=False)
@json_option
def preflight(*, stage: str | None, as_json: bool) -> None:
    """Print the list before a STAGE, yes or no a line, and what to do for each no. Changes nothing.

    Backup, release, rights, nodes, flag, environment, violations, operators and alerts. Without STAGE it is the list
    before the usual next one. Whether the numbers allow it: `rollout status`.

    Exit 0 says that nothing holds it back, 1 that there is a NO. A small no is advice: without alerts V2 still goes
    back by itself, and you have to look.

    \b
    Examples:
      care-collective rollout preflight percentage:10
      care-collective rollout preflight --json
    """
    from care_collective.rollout import preflight as operations

    known = settings()
    wanted = None if stage is None else _parse(stage)
    found = beside(lambda owner: operations.preflight(owner, known, stage=wanted, tell=lambda _: None))
    if as_json:
        show_json(found)
    else:
        click.echo(f"Before {found.stage}:")
        rows = [("yes" if one.yes else "no" if one.advice else "NO", one.question, one.found) for one in found.lines]
        show_table(("", "", ""), rows)
        for one in found.lines:
            if one.do is not None:
                click.echo(
                    f"\n{one.question}: no{', which holds nothing back' if one.advice else ''}. {spoken(one.do)}"
                )
    sys.exit(0 if found.ready else 1)


def _parse(stage: str) -> "Stage":
    from care_collective.rollout.policy import Stage

    try:
        return Stage.parse(stage)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="STAGE") from error


@click.command()
@click.argument("change_id", metavar="[ID]", required=False, type=click.UUID)
@flag_option
@json_option
def incident(*, change_id: "UUID | None", flag: str, as_json: bool) -> None:
    """Gather all about one rollback: who or which rule, why, the attempts that failed, and where to look next.

    ID is the reference in the alert and in `rollout history --json`; without it, the newest rollback. A warning's ID
    does as well. Names the rehearsal that brings the same fault about. Exit 1 says that there is no such rollback.

    \b
    Examples:
      care-collective rollout incident
      care-collective rollout incident 6f1d8f5c-3a77-4c0e-9d0b-6b7a5f0c2a11 --json
    """
    from care_collective.rollout.incident import gather

    found = beside(lambda owner: gather(owner, flag, change_id))
    if as_json:
        show_json(found)
    else:
        _show(found)


def _show(found: "Incident") -> None:
    change = found.change
    done = {"kill": "Stopped", "trip": "Rolled back"}.get(change["action"], "Warned")
    click.echo(
        f"{done} by {change['actor']} at {second(change['at'])}, at the stage {change['stage']} ({change['why']})"
    )
    click.echo(change["words"])
    for name, number in (change["numbers"] or {}).items():
        click.echo(f"  {name}: {number}")
    click.echo(f"Reference: {change['id']}, told by {', '.join(change['told_by']) or 'nobody yet'}")
    if found.resumed is not None:
        again = found.resumed
        click.echo(f"Resumed by {again['actor']} at {second(again['at'])}, at {again['to_stage']}: {again['words']}")
    said = ", ".join(f"{code} {count}" for code, count in sorted(found.codes.items())) or "none"
    click.echo(f"\nAttempts in V2 from {second(found.since)} to {second(found.until)}: {said}")
    if found.attempts:
        show_table(
            ("at", "code", "endpoint", "ms", "reference"),
            [(second(a["at"]), a["code"], a["endpoint"], a["duration_ms"], a["reference"]) for a in found.attempts],
        )
    if found.problems:
        click.echo("\nProblems that members told of:")
        show_table(
            ("at", "code", "engine", "reference"),
            [(second(p["at"]), p["code"], p["version"], p["reference"]) for p in found.problems],
        )
    click.echo("\nLook for:")
    for hint in found.look_for:
        click.echo(f"- {spoken(hint)}")
    click.echo(f"\nBring the same about, away from any data: {spoken(found.rehearse)}")
