"""The commands before a stage and after a rollback: preflight."""

import sys
from typing import TYPE_CHECKING

import rich_click as click

from care_collective.cli.owner import beside
from care_collective.cli.show import json_option, settings, show_json, show_table, spoken

if TYPE_CHECKING:
    from care_collective.rollout.policy import Stage


@click.command()
@click.argument("stage", required=False)
@json_option
def preflight(*, stage: str | None, as_json: bool) -> None:
    """Print the list before a STAGE, yes or no a line, and what to do for each no. Changes nothing.

    Backup, release, rights, nodes, flag, environment, violations, operators and alerts. Without STAGE it is the list
    before the usual next one. Whether the numbers allow it: `rollout status`.

    Exit 0 says that all is well, 1 that there is a no.

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
        show_table(("", "", ""), [("yes" if one.yes else "NO", one.question, one.found) for one in found.lines])
        for one in found.lines:
            if one.do is not None:
                click.echo(f"\n{one.question}: no. {spoken(one.do)}")
    sys.exit(0 if found.ready else 1)


def _parse(stage: str) -> "Stage":
    from care_collective.rollout.policy import Stage

    try:
        return Stage.parse(stage)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="STAGE") from error
