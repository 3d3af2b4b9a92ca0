"""The commands for letters to members."""

import rich_click as click

from care_collective.cli.owner import as_owner
from care_collective.cli.show import json_option, minute, settings, show_json, show_table


@click.group()
def mail() -> None:
    """See which letters to members fail, and send them again."""


@mail.command()
@json_option
def status(*, as_json: bool) -> None:
    """Show how many letters wait, fail and were given up, and why.

    \b
    Examples:
      care-collective mail status
      care-collective mail status --json
    """
    from care_collective.operations import mail as operations

    found = as_owner(operations.state)
    if as_json:
        show_json(found)
        return
    if settings().smtp_url is None:
        click.echo("No mail server is set (CARE_SMTP_URL): letters stand in the log only.")
    click.echo(f"Letters due: {found.waiting}; failing: {found.failing}; given up: {found.dead}")
    if found.letters:
        show_table(
            ("letter", "community", "kind", "written", "tries", "error", "next try"),
            [
                (
                    one.id,
                    one.community,
                    one.kind,
                    minute(one.created_at.isoformat()),
                    one.attempts,
                    one.error,
                    "given up" if one.dead_at else minute(one.due_at.isoformat()),
                )
                for one in found.letters
            ],
        )


@mail.command()
@json_option
def retry(*, as_json: bool) -> None:
    """Let every letter that failed or was given up go out now, after a mend.

    A running site sends them within seconds. Links to new passwords stay given up: they have expired.

    \b
    Examples:
      care-collective mail retry
    """
    from care_collective.operations import mail as operations

    letters = as_owner(operations.retry)
    if as_json:
        show_json({"letters": letters})
    else:
        click.echo(f"Letters to be sent again: {letters}")
