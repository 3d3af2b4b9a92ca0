"""The commands for the database as a whole: migrate, doctor."""

import sys

import rich_click as click

from care_collective.cli.show import json_option, progress, run, settings, show_json, show_table, spoken


@click.command()
@click.option("--check", is_flag=True, help="Make and change nothing; exit 1 if there is something to do.")
@click.option("--without-backup", metavar="REASON", help="Migrate without one; the reason is remembered.")
@json_option
def migrate(*, check: bool, without_backup: str | None, as_json: bool) -> None:
    """Bring the database up to this release.

    Running it again does nothing. An embedded database is made where there is none. `serve` does both by itself for an
    embedded database and for an empty one. A database with members is migrated only when a backup of it was verified
    within 24 hours.

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
@click.option("--deployed", is_flag=True, help="Look at tables, functions and rights instead of rows.")
@json_option
def doctor(*, deployed: bool, as_json: bool) -> None:
    """Look for violations: row states that must never be. Changes nothing.

    With --deployed: whether the database is what this release claims. Tables, constraints, functions and who may
    execute them are compared with what is expected, and the functions that clients call are called as nobody and as
    wrong people, in a transaction that is rolled back.

    Exit 0 says that there is nothing to find, 1 that there is, 2 that there is no database or another release's: none
    is made, and none is migrated. Can run beside `serve`.

    \b
    Examples:
      care-collective doctor
      care-collective doctor --deployed --json
    """
    if deployed:
        _examine_deployed(as_json=as_json)
        return
    from care_collective.operations.doctor import Violation, examine
    from care_collective.operations.startup import examined

    known = settings()

    async def look() -> list[Violation]:
        with progress() as tell:
            async with examined(known, tell=tell) as owner:
                tell("Looking for violations")
                return await examine(owner)

    found = run(look())
    if as_json:
        show_json({"violations": found})
    elif found:
        heads = ("kind", "engine", "community", "subject", "detail")
        show_table(heads, [(v.kind, v.engine, v.community_id, v.subject, v.detail) for v in found])
        for kind, words in dict.fromkeys((v.kind, v.next_step) for v in found):
            click.echo(f"\n{kind}: {spoken(words)}")
    else:
        click.echo("No violations.")
    sys.exit(1 if found else 0)


def _examine_deployed(*, as_json: bool) -> None:
    from care_collective.operations.deployed import Report, examine
    from care_collective.operations.startup import examined

    known = settings()

    async def look() -> Report:
        with progress() as tell:
            async with examined(known, any_release=True, tell=tell) as owner, owner.pool.acquire() as connection:
                tell("Comparing the database with this release")
                return await examine(connection)

    report = run(look())
    if as_json:
        show_json(report)
    elif report.findings:
        show_table(
            ("kind", "subject", "expected", "found"),
            [(f.kind, f.subject, f.expected, f.found) for f in report.findings],
        )
    else:
        click.echo(f"As this release has it: {report.things} things, {report.rules} rules, {report.calls} calls.")
    if not report.calls:
        click.echo("The functions were not called: a text that is not this release's is not run.", err=True)
    sys.exit(1 if report.findings else 0)
