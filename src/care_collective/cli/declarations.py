"""The commands types and openapi: what other people's programs have to know of tables, functions and the HTTP API."""

import sys
from pathlib import Path

import rich_click as click

from care_collective.cli.show import json_option, progress, run, show_json


@click.command()
@click.option("--typescript", is_flag=True, help="TypeScript for supabase-js instead of Python.")
@click.option(
    "--check", is_flag=True, help="Compare the committed files with a database made anew; exit 1 if one is stale."
)
@click.option("--write", is_flag=True, help="Write the committed files anew, after a change of tables or functions.")
@json_option
def types(*, typescript: bool, check: bool, write: bool, as_json: bool) -> None:
    """Print the types of tables and functions, for programs that call the functions.

    No database of yours is asked: these are the types of this release. --check and --write start an embedded
    PostgreSQL of their own, migrate it and throw it away. With --json the types are printed as the catalogue has them.

    \b
    Examples:
      care-collective types --typescript > src/database.ts
      care-collective types > care_types.py
      care-collective types --check
    """
    from care_collective.operations import catalogue, declarations

    if check and write:
        raise click.UsageError("--check and --write exclude each other.")
    if not check and not write:
        things = catalogue.expected()
        if as_json:
            show_json([thing for thing in things if thing.name.startswith("public.")])
        else:
            click.echo((declarations.typescript if typescript else declarations.python)(things), nl=False)
        return

    with progress() as tell:
        tell("Migrating a scratch database")
        things = run(declarations.migrated())
    files = [_from_here(path) for path in (declarations.refresh if write else declarations.stale)(things)]
    if as_json:
        show_json({"written" if write else "stale": files})
    else:
        for file in files:
            click.echo(f"Written: {file}" if write else f"Stale: {file}")
        if check:
            click.echo("Run `scripts/serve types --write` and commit them." if files else "The types are up to date.")
    sys.exit(1 if check and files else 0)


@click.command()
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write to a file.")
def openapi(*, output: Path | None) -> None:
    """Print the description of the HTTP API as JSON (OpenAPI 3.1), as /schema of a running server answers it.

    No database and no settings are needed: it is the description of this release.

    \b
    Examples:
      care-collective openapi > openapi.json
      care-collective openapi --output openapi.json
    """
    import msgspec

    from care_collective.web.description import document

    text = msgspec.json.format(document(), indent=2).decode()
    if output is None:
        click.echo(text)
        return
    try:
        output.write_text(f"{text}\n", "utf-8")
    except OSError as error:
        raise click.FileError(str(output), error.strerror or "cannot be written") from error
    click.echo(f"Written: {output}", err=True)


def _from_here(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
