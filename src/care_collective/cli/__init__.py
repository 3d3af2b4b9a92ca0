"""The command care-collective. Commands are thin: they read arguments, call operations, and show what came of it.

Exit codes: 0 done and well, 1 a finding or a refusal, 2 wrong usage or settings, 3 a node that is silent.
"""

import re
import sys
from inspect import cleandoc
from typing import Final

import rich_click as click

from care_collective import __version__
from care_collective.cli.backups import backup, restore
from care_collective.cli.bench import bench
from care_collective.cli.communities import community
from care_collective.cli.database import doctor, migrate
from care_collective.cli.declarations import openapi, types
from care_collective.cli.legacy import legacy
from care_collective.cli.mail import mail
from care_collective.cli.members import member
from care_collective.cli.rollout import rollout
from care_collective.cli.serving import demo, serve
from care_collective.cli.show import program, spoken
from care_collective.errors import CareError, SettingsError

_FIRST_EXAMPLES: Final = re.compile(r"\A[^\n]+(\n[^\n]+)*\n\n\x08\n(?=Example)")


@click.rich_config({"text_paragraph_linebreaks": "\n\n"})
@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="care-collective")
def group() -> None:
    """Mutual aid for a neighbourhood: ask for help, offer help, and talk.

    Settings come from the environment; .env.example lists them. Without DATABASE_URL a PostgreSQL of our own is
    started in CARE_DATA_DIR.

    \b
    Examples:
      care-collective demo
      care-collective serve --port 8001
      care-collective COMMAND --help
    """


for _command in (
    serve,
    demo,
    migrate,
    doctor,
    backup,
    restore,
    member,
    community,
    rollout,
    legacy,
    mail,
    types,
    openapi,
    bench,
):
    group.add_command(_command)


def _speak(command: click.Command) -> None:
    """Lets the examples in a command's help call it as it is called here."""
    # The blank line keeps rich_click from taking the indentation of examples that follow the first paragraph.
    command.help = _FIRST_EXAMPLES.sub("\\g<0> \n", cleandoc(spoken(command.help or "")))
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        _speak(inner)


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    _speak(group)
    try:
        group(prog_name=program())
    except SettingsError as error:
        click.echo(f"care-collective: {spoken(str(error))}", err=True)
        sys.exit(2)
    except CareError as error:
        click.echo(f"care-collective: {spoken(error.message)}", err=True)
        sys.exit(1)
