"""The command bench: the figures of the goals, measured here and now, each beside its goal."""

import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import rich_click as click

from care_collective.cli.show import progress, run, show_json, show_table

if TYPE_CHECKING:
    from care_collective.bench.doors import Effort
    from care_collective.bench.report import Report

Tell = Callable[[str], None]
F = TypeVar("F", bound=Callable[..., Any])

_QUIET_CORES: Final = 0.2

_json = click.option("--json", "json_to", metavar="FILE", help="Write the result as JSON, too; - shows only that.")
_rounds = click.option(
    "--rounds", type=click.IntRange(1, 100), default=5, show_default=True, help="The median of how many."
)
_seconds = click.option(
    "--seconds", type=click.IntRange(1, 600), default=3, show_default=True, help="Of each side in each round."
)
_connections = click.option("--connections", type=click.IntRange(1, 40), default=16, show_default=True)
_size = click.option("--size", type=click.IntRange(1_000), help="Rows of the large case, in place of the goal's.")


def _options(*options: Callable[[F], F]) -> Callable[[F], F]:
    def add(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@click.group()
def bench() -> None:
    """Measure speed and cost, and say whether the goals are met.

    Everything is started in a scratch folder and removed; a deployment, its settings and its database are not touched.
    Two cores also carry PostgreSQL and the load, so that most figures are ratios within one run: keep the machine
    quiet meanwhile. Exit 0 says that every goal is met, 1 that one is not, 2 is wrong usage.
    """


def _show(report: "Report", json_to: str | None) -> None:
    """Shows a report and ends with its exit code."""
    if json_to == "-":
        show_json(report)
        sys.exit(0 if report.met else 1)
    if json_to is not None:
        import msgspec

        Path(json_to).write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    for name, table in report.tables.items():
        click.echo(name)
        show_table(list(table[0]), [list(line.values()) for line in table])
        click.echo()
    show_table(
        ("what", "figure", "goal", "", "made of"),
        [
            (
                row.name,
                f"{row.figure:g} {row.unit}".rstrip(),
                row.goal,
                "met" if row.met else "NOT MET",
                _detail(row.detail),
            )
            for row in report.rows
        ],
    )
    others = max((row.detail.get("cores_used_by_others", 0) for row in report.rows), default=0)
    if others > _QUIET_CORES:
        click.echo(f"Other programs used {others:.1f} cores meanwhile. Measure again on a quiet machine.", err=True)
    sys.exit(0 if report.met else 1)


def _detail(detail: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in detail.items() if not isinstance(value, list))


def _run(measure: Callable[[Tell], Coroutine[Any, Any, "Report"]]) -> "Report":
    from care_collective.operations.logs import configure
    from care_collective.settings import Log

    configure(Log("warning", "auto"))
    with progress() as tell:
        return run(measure(tell), fast=True)


def _effort(rounds: int, seconds: int, connections: int = 16) -> "Effort":
    from care_collective.bench.doors import Effort

    return Effort(rounds, seconds, connections)


async def _create(effort: "Effort", tell: Tell) -> "Report":
    from care_collective.bench import cost, doors
    from care_collective.bench.report import joined

    return joined([await doors.measure("create", effort, tell=tell), await cost.measure(effort, tell=tell)])


async def _page(verb: str, effort: "Effort", size: int | None, tell: Tell) -> "Report":
    from care_collective.bench import doors, scale
    from care_collective.bench.report import joined

    over_http = await doors.measure(verb, effort, tell=tell)
    if verb == "inbox":
        large = await scale.measure_inbox(effort, size=size or scale.CONVERSATIONS, tell=tell)
    else:
        large = await scale.measure_thread(effort, size=size or scale.MESSAGES, tell=tell)
    return joined([over_http, large])


@bench.command()
@_options(_rounds, _seconds, _connections, _json)
def create(*, rounds: int, seconds: int, connections: int, json_to: str | None) -> None:
    """Opening a conversation: over HTTP against pgbench, and the function's cost against the bare inserts.

    \b
    Examples:
      care-collective bench create
      care-collective bench create --rounds 1 --seconds 1 --json -
    """
    _show(_run(lambda tell: _create(_effort(rounds, seconds, connections), tell)), json_to)


@bench.command()
@_options(_rounds, _seconds, _connections, _json)
def send(*, rounds: int, seconds: int, connections: int, json_to: str | None) -> None:
    """Sending a message: over HTTP against pgbench.

    \b
    Examples:
      care-collective bench send
    """
    from care_collective.bench import doors

    _show(_run(lambda tell: doors.measure("send", _effort(rounds, seconds, connections), tell=tell)), json_to)


@bench.command()
@_options(_rounds, _seconds, _connections, _size, _json)
def inbox(*, rounds: int, seconds: int, connections: int, size: int | None, json_to: str | None) -> None:
    """The first page of the inbox: over HTTP against pgbench, and for a busy member of a large database.

    The large database has 1,000,000 conversations, or --size; making them takes a minute or two.

    \b
    Examples:
      care-collective bench inbox
      care-collective bench inbox --size 100000
    """
    _show(_run(lambda tell: _page("inbox", _effort(rounds, seconds, connections), size, tell)), json_to)


@bench.command()
@_options(_rounds, _seconds, _connections, _size, _json)
def thread(*, rounds: int, seconds: int, connections: int, size: int | None, json_to: str | None) -> None:
    """A page of a thread: over HTTP against pgbench, and of a long thread, 100,000 messages or --size.

    \b
    Examples:
      care-collective bench thread
    """
    _show(_run(lambda tell: _page("thread", _effort(rounds, seconds, connections), size, tell)), json_to)


@bench.command()
@_options(_rounds, _seconds, _connections, _json)
def compare(*, rounds: int, seconds: int, connections: int, json_to: str | None) -> None:
    """V2 against V1: what an opening takes in each, and what is left when calls are cut in the middle.

    \b
    Examples:
      care-collective bench compare
    """
    from care_collective.bench import compare as measured

    _show(_run(lambda tell: measured.measure(_effort(rounds, seconds, connections), tell=tell)), json_to)


@bench.command()
@_options(_json)
def flag(*, json_to: str | None) -> None:
    """What asking the flag costs.

    \b
    Examples:
      care-collective bench flag
    """
    from care_collective.bench import flag as measured

    _show(measured.measure(), json_to)


@bench.command()
@_options(_json)
def start(*, json_to: str | None) -> None:
    """A first start with no data, a second one, and the memory of the web process.

    \b
    Examples:
      care-collective bench start
    """
    from care_collective.bench import start as measured

    _show(_run(lambda tell: measured.measure(tell=tell)), json_to)


@bench.command()
@click.option("--seconds", type=click.IntRange(2, 3600), default=60, show_default=True, help="The goal says 600.")
@click.option("--rate", type=click.IntRange(10, 2000), default=200, show_default=True, help="Requests a second.")
@_options(_json)
def latency(*, seconds: int, rate: int, json_to: str | None) -> None:
    """How long members wait under a steady mix of requests that come whether or not others are answered.

    \b
    Examples:
      care-collective bench latency --seconds 600
    """
    from care_collective.bench import latency as measured

    _show(_run(lambda tell: measured.measure(seconds=seconds, rate=rate, tell=tell)), json_to)


@bench.command()
@click.option("--streams", type=click.IntRange(1, 20_000), default=1000, show_default=True, help="Open at once.")
@_options(_rounds, _seconds, _connections, _json)
def live(*, streams: int, rounds: int, seconds: int, connections: int, json_to: str | None) -> None:
    """Open live streams: how soon a message is seen, the memory of each, and what they cost those who write.

    \b
    Examples:
      care-collective bench live
      care-collective bench live --streams 100 --rounds 1 --seconds 1
    """
    from care_collective.bench import live as measured

    effort = _effort(rounds, seconds, connections)
    _show(_run(lambda tell: measured.measure(effort, streams=streams, tell=tell)), json_to)


@bench.command(name="all")
@_options(_rounds, _seconds, _connections, _json)
def everything(*, rounds: int, seconds: int, connections: int, json_to: str | None) -> None:
    """Every benchmark, one after another. Takes ten minutes or so.

    \b
    Examples:
      care-collective bench all --json figures.json
    """
    from care_collective.bench import compare as comparison
    from care_collective.bench import doors, latency, start
    from care_collective.bench import flag as asked
    from care_collective.bench import live as streams
    from care_collective.bench.report import joined

    effort = _effort(rounds, seconds, connections)

    async def measure(tell: Tell) -> "Report":
        return joined(
            [
                asked.measure(),
                await start.measure(tell=tell),
                await _create(effort, tell),
                await doors.measure("send", effort, tell=tell),
                await _page("inbox", effort, None, tell),
                await _page("thread", effort, None, tell),
                await comparison.measure(effort, tell=tell),
                await latency.measure(seconds=60, tell=tell),
                await streams.measure(effort, tell=tell),
            ]
        )

    _show(_run(measure), json_to)
