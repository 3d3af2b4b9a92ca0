"""The commands for the database as a whole: migrate, doctor."""

import sys

import rich_click as click

from care_collective.cli.show import json_option, progress, run, settings, show_json, show_table


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit 1 if there is something to do.")
@click.option("--without-backup", metavar="REASON", help="Migrate without one; the reason is remembered.")
@json_option
def migrate(*, check: bool, without_backup: str | None, as_json: bool) -> None:
    """Bring the database up to this release.

    Running it again does nothing. `serve` does this by itself for an embedded database and for an empty one. A
    database with members is migrated only when a backup of it was verified within 24 hours.

    \b
    Examples:
      care-collective migrate --check
      DATABASE_URL=postgresql://owner@localhost/care care-collective migrate
    """
    from care_collective.operations.startup import bring_up, find_plan

    known = settings()
    with progress() as tell:
        plan = run(find_plan(known, tell=tell) if check else bring_up(known, without_backup=without_backup, tell=tell))
    if as_json:
        found = {"migrations": [m.name for m in plan.migrations], "functions": plan.rooms}
        show_json({"up_to_date": plan.empty or not check, "to_do" if check else "done": found})
    else:
        verb = "To do" if check else "Done"
        for migration in plan.migrations:
            click.echo(f"{verb}: migration {migration.name}")
        if plan.rooms:
            click.echo(f"{verb}: functions of {', '.join(plan.rooms)}")
        if plan.empty:
            click.echo("The database is up to date.")
    sys.exit(1 if check and not plan.empty else 0)


@click.command()
@json_option
def doctor(*, as_json: bool) -> None:
    """Look for violations: row states that must never be. Changes nothing.

    Exit 0 says that there is none, 1 that there is one. Can run beside `serve`.

    \b
    Examples:
      care-collective doctor
      care-collective doctor --json
    """
    from care_collective.operations.doctor import Violation, examine
    from care_collective.operations.startup import as_owner

    known = settings()

    async def look() -> list[Violation]:
        with progress() as tell:
            async with as_owner(known, tell=tell) as owner:
                tell("Looking for violations")
                return await examine(owner)

    found = run(look())
    if as_json:
        show_json({"violations": found})
    elif found:
        heads = ("kind", "engine", "community", "subject", "detail")
        show_table(heads, [(v.kind, v.engine, v.community_id, v.subject, v.detail) for v in found])
    else:
        click.echo("No violations.")
    sys.exit(1 if found else 0)
