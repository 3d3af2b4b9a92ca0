"""The commands that serve: the deployment that the settings describe, or a sample community for trying it out."""

import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from shlex import quote
from typing import TYPE_CHECKING

import rich_click as click

from care_collective.cli.show import progress, run, settings, spoken

if TYPE_CHECKING:
    from care_collective.operations.startup import Deployment
    from care_collective.settings import Settings

_Greet = Callable[["Deployment", Callable[[str], None]], Awaitable[Callable[[str], str]]]

_host = click.option("--host", metavar="NAME", help="Where to listen; stands over CARE_HOST.")
_port = click.option("--port", type=click.IntRange(0, 65535), help="Stands over CARE_PORT, which is 8000 by default.")


@click.command()
@_host
@_port
def serve(*, host: str | None, port: int | None) -> None:
    """Serve the web pages and the HTTP API until Ctrl-C or SIGTERM.

    An embedded database, or an empty one, is made ready first. One that is behind this release is refused: run
    `migrate` then.

    \b
    Examples:
      care-collective serve
      care-collective serve --host 0.0.0.0 --port 80
    """
    _serve(settings(CARE_HOST=host, CARE_PORT=port), _greet)


@click.command()
@_host
@_port
def demo(*, host: str | None, port: int | None) -> None:
    """Serve a sample community, and show how to sign in as each role.

    It is made once, in the folder demo of CARE_DATA_DIR, and touches neither DATABASE_URL nor any e-mail. Remove that
    folder to begin anew. Its password is known to everybody, so that it listens on this machine only.

    \b
    Examples:
      care-collective demo
      care-collective demo --port 8001
    """
    from care_collective.operations.demo import demo_settings, greeting, make_sample

    async def greet(deployment: "Deployment", tell: Callable[[str], None]) -> Callable[[str], str]:
        from care_collective.accounts.passwords import Passwords

        hasher = Passwords()
        try:
            sample = await make_sample(deployment, hash_password=hasher.hash, tell=tell)
        finally:
            hasher.close()
        return lambda url: greeting(sample, url, deployment.settings.data_dir)

    given = {"CARE_HOST": host, "CARE_PORT": None if port is None else str(port)}
    _serve(demo_settings({**os.environ, **{name: value for name, value in given.items() if value is not None}}), greet)


async def _greet(deployment: "Deployment", _: Callable[[str], None]) -> Callable[[str], str]:
    from care_collective.operations.people import list_communities
    from care_collective.operations.startup import owner_of

    async with owner_of(deployment) as owner:
        known = await list_communities(owner)
    said = "" if deployment.settings.smtp_url else "No letters go to members: CARE_SMTP_URL is not set.\n"
    if known:
        return lambda _: said
    # Another terminal has not what was set for this one alone, and would find or make another database.
    folder = os.environ.get("CARE_DATA_DIR", "").strip()
    program = f"CARE_DATA_DIR={quote(folder)} care-collective" if folder else "care-collective"
    return lambda _: (
        f"{said}There is no community yet. In another terminal, add one and its first people:\n"
        f'  {program} community add SLUG --name "…" --time-zone Europe/Lisbon --emergency-line 112\n'
        f'  {program} member invite EMAIL --name "…" --coordinator\n'
        f"  {program} member role EMAIL operator\n"
    )


def _serve(known: "Settings", greet: _Greet) -> None:
    listening = False

    async def serving() -> None:
        nonlocal listening
        from care_collective.operations.logs import configure
        from care_collective.operations.startup import opened

        configure(known.log)
        with ExitStack() as shown:
            tell = shown.enter_context(progress())
            async with opened(known, tell=tell) as deployment:
                words = await greet(deployment, tell)
                tell("Starting the web server")
                from care_collective.web.server import serve as serve_web

                def ready(url: str) -> None:
                    nonlocal listening
                    listening = True
                    shown.close()
                    click.echo(spoken(f"{words(url)}Care Collective is ready at {url} (Ctrl-C stops it)."))
                    sys.stdout.flush()

                await serve_web(deployment, ready=ready)

    try:
        run(serving(), fast=True)
    except SystemExit:
        if not listening:
            raise
        sys.exit(0)  # it served and was told to stop
