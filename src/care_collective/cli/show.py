"""What commands have in common: reading the settings, running, telling of progress, showing results.

Results go to the standard output, all else to the standard error. Imports what is slow to import only when called.
"""

import os
import re
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import rich_click as click

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from care_collective.settings import Settings

T = TypeVar("T")
_CHECKOUT_SCRIPT: Final = Path(__file__).parents[3] / "scripts" / "serve"

json_option = click.option("--json", "as_json", is_flag=True, help="Show the result as JSON.")
flag_option = click.option("--flag", default="messaging_v2", show_default=True, metavar="NAME", help="Which flag.")
by_option = click.option("--as", "by", metavar="EMAIL", help="The operator who acts; else the login of this machine.")
reason_option = click.option("--why", "reason", required=True, metavar="WORDS", help="The reason, kept in the history.")


def program() -> str:
    """How this program is called: scripts/serve where it runs from a checkout without being installed."""
    module = Path(sys.argv[0]).name == "__main__.py"
    return "scripts/serve" if module and _CHECKOUT_SCRIPT.is_file() else "care-collective"


def spoken(text: str) -> str:
    """A text with the commands in it as they are called here."""
    return re.sub(r"(?<![\w/.-])care-collective(?= )", program(), text)  # in a path it is a folder


def settings(**given: object) -> "Settings":
    """The settings of the environment, over which `given` stands where it is not None. Errors: SettingsError."""
    from care_collective.settings import load

    return load({**os.environ, **{name: str(value) for name, value in given.items() if value is not None}})


def run(work: Coroutine[Any, Any, T], *, fast: bool = False) -> T:
    """Runs to the end, or until Ctrl-C, SIGTERM or SIGHUP, which cancel the work and let it clean up.

    `fast` takes uvloop. Errors: SystemExit with 128 and the signal's number once the work has cleaned up.
    """
    import asyncio

    with asyncio.Runner(loop_factory=_fast_loop if fast else None) as runner:
        loop = runner.get_loop()
        caught: list[int] = []

        async def cancellable() -> T:
            task = asyncio.current_task()
            assert task is not None

            def stop(number: int, _: object) -> None:
                caught.append(number)
                loop.call_soon_threadsafe(task.cancel)

            for number in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup's
                    signal.signal(number, stop)
            return await work

        try:
            return runner.run(cancellable())
        except KeyboardInterrupt:
            caught.append(signal.SIGINT)
        except asyncio.CancelledError:
            if not caught:
                raise
    sys.exit(128 + caught[0])


def _fast_loop() -> "AbstractEventLoop":
    import uvloop

    return uvloop.new_event_loop()


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Within it, what is told stands beside a moving sign on a terminal, and as a line of its own elsewhere."""
    if not sys.stderr.isatty():
        yield lambda text: click.echo(f"{text} …", err=True)
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield lambda text: status.update(f"{text} …")


def minute(at: str) -> str:
    """A time of the database's, ISO 8601 in UTC, as people read it, to the minute."""
    return f"{at[:16].replace('T', ' ')} UTC"


def second(at: str) -> str:
    """The same to the second."""
    return f"{at[:19].replace('T', ' ')} UTC"


def show_json(result: object) -> None:
    """Shows a result as indented JSON."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(result)))


def show_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Shows rows under their heads in columns, however wide: a line is a row, for grep and for people."""
    from care_collective.text import on_one_line

    cells = [[("" if cell is None else on_one_line(str(cell))) for cell in row] for row in (heads, *rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(heads))]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
