"""The commands that keep and bring back a deployment's data: backup, backup verify, restore."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from care_collective.cli.show import json_option, progress, run, settings, show_json, spoken

if TYPE_CHECKING:
    from collections.abc import Callable

    from care_collective.operations.backup import Checked, Made
    from care_collective.operations.backup.archive import Archive

_file = click.argument("file", type=click.Path(path_type=Path, resolve_path=True))


@click.group(invoke_without_command=True)
@click.option(
    "--to",
    type=click.Path(path_type=Path, resolve_path=True),
    metavar="FOLDER",
    help="Where to; else backups in CARE_DATA_DIR.",
)
@json_option
@click.pass_context
def backup(context: click.Context, *, to: Path | None, as_json: bool) -> None:
    """Back up the database into one new file, while members go on writing.

    The file holds everything that members wrote: keep it where only you can read it. The keys in secrets.env of an
    embedded deployment are not in it: keep them too, elsewhere. It counts once `backup verify` has proved it.

    \b
    Examples:
      care-collective backup
      care-collective backup --to /mnt/disk --json
      care-collective backup verify FILE
    """
    if context.invoked_subcommand is not None:
        return
    from care_collective.operations.backup import make
    from care_collective.operations.startup import as_found, backups_folder

    known = settings()

    async def work(tell: "Callable[[str], None]") -> "Made":
        async with as_found(known, tell=tell) as found:
            folder = backups_folder(known) if to is None else to
            return await make(found.owner_url, found.owner_setting, folder, tell=tell)

    with progress() as tell:
        made = run(work(tell))
    if as_json:
        show_json({**_facts(made.archive), "note": made.note})
        return
    click.echo(f"{made.archive.path} ({_size(made.archive)}, {made.archive.manifest.rows} rows)")
    if made.note is not None:
        click.echo(made.note)
    click.echo(spoken(f"Prove it: care-collective backup verify {made.archive.path}"))


@backup.command()
@_file
@json_option
def verify(*, file: Path, as_json: bool) -> None:
    """Prove a backup: restore it into a scratch PostgreSQL, and compare every table with what was backed up.

    Row counts and checksums must be equal. Violations in it are counted too. What was proved is remembered in the
    deployment's database, where `migrate` looks for it. Exit 1 says that it is no backup, or has violations.

    A file from elsewhere is somebody's SQL. It runs with no rights beyond that scratch database's own tables, but
    equal says only that the file agrees with itself, not who made it.

    \b
    Examples:
      care-collective backup verify care-collective-2026-05-01-120000Z-0.1.0.dump
    """
    from care_collective.operations import backup as operations

    known = settings()

    async def work(tell: "Callable[[str], None]") -> "tuple[Checked, str | None]":
        from care_collective.operations.startup import remember_verified

        checked = await operations.verify(file, tell=tell)
        return checked, (await remember_verified(known, checked.archive, tell=tell) if checked.proved else None)

    with progress() as tell:
        checked, why_not = run(work(tell))
    recorded = checked.proved and why_not is None
    if as_json:
        show_json({**_outcome(checked), "recorded": recorded, "not_recorded_because": why_not})
    else:
        _tell_outcome(checked)
        if checked.proved:
            click.echo("Remembered in the database." if recorded else f"Not remembered: {str(why_not).rstrip('.')}.")
    sys.exit(0 if checked.proved and not checked.violations else 1)


@click.command()
@_file
@click.option("--into", metavar="URL", help="The owner's URL of an empty database; else the deployment's own.")
@json_option
def restore(*, file: Path, into: str | None, as_json: bool) -> None:
    """Bring a backup back into an empty database, and compare every table with what was backed up.

    Nothing is ever written over: a database with rows in it, or with tables of other software, is refused. Stop
    `serve` first. Exit 1 says that it was refused, or that the backup holds violations.

    A file from elsewhere is somebody's SQL, and its rows say who is an operator. It gets no rights beyond the
    product's own tables, never a superuser's; still, restore only what you made, or got from whom you trust.

    \b
    Examples:
      CARE_DATA_DIR=/srv/care care-collective restore FILE
      care-collective restore FILE --into postgresql://owner@localhost/care
    """
    from care_collective.operations import backup as operations
    from care_collective.operations.startup import as_found

    known = settings() if into is None else settings(DATABASE_URL=into, DATABASE_OWNER_URL=into)

    async def work(tell: "Callable[[str], None]") -> "Checked":
        async with as_found(known, make=True, tell=tell) as found:
            setting = found.owner_setting if into is None else "--into"
            return await operations.restore(file, found.owner_url, setting, tell=tell)

    with progress() as tell:
        checked = run(work(tell))
    if as_json:
        show_json(_outcome(checked))
    else:
        _tell_outcome(checked)
    sys.exit(1 if checked.violations else 0)


def _size(archive: "Archive") -> str:
    from care_collective.operations.backup.archive import in_human

    return in_human(archive.bytes)


def _facts(archive: "Archive") -> dict[str, Any]:
    manifest = archive.manifest
    return {
        "file": str(archive.path),
        "bytes": archive.bytes,
        "size": _size(archive),
        "sha256": archive.sha256,
        "made_at": manifest.made_at,
        "release": manifest.release,
        "server_version": manifest.server,
        "pg_dump_version": manifest.tool,
        "tables": manifest.tables,
    }


def _outcome(checked: "Checked") -> dict[str, Any]:
    found = {"equal": checked.proved, "differences": checked.differences, "violations": checked.violations}
    return {**_facts(checked.archive), **found}


def _tell_outcome(checked: "Checked") -> None:
    manifest = checked.archive.manifest
    click.echo(f"{checked.archive.path}: of {manifest.made_at:%Y-%m-%d %H:%M} UTC, release {manifest.release}")
    for line in checked.differences:
        click.echo(f"DIFFERENT  {line}")
    if checked.proved:
        click.echo(f"Row counts and checksums are equal: {len(manifest.tables)} tables, {manifest.rows} rows.")
    click.echo(f"{checked.violations} violations." if checked.violations else "No violations.")
