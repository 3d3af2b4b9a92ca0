"""The commands for V1: how it stands, mending and moving its conversations, and its retirement."""

import sys
from collections.abc import Awaitable, Callable
from getpass import getuser
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import rich_click as click

from care_collective.cli.show import json_option, minute, progress, run, settings, show_json, show_table, spoken

if TYPE_CHECKING:
    from care_collective.db.call import Database
    from care_collective.rollout.switch import Reach

T = TypeVar("T")
_SILENT = 3
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

_dry_run = click.option("--dry-run", is_flag=True, help="Only say what it would do.")


@click.group()
def legacy() -> None:
    """See how V1 stands, mend and move its conversations, and retire it."""


def _told(work: "Callable[[Database, Callable[[str], None]], Awaitable[T]]") -> T:
    """Runs `work` with the owner's database and something to tell of progress with."""
    from care_collective.operations import startup

    known = settings()

    async def connected() -> T:
        with progress() as tell:
            async with startup.as_owner(known, tell=tell) as owner:
                return await work(owner, tell)

    return run(connected())


def _actor() -> str:
    return f"command line, {getuser()}"


@legacy.command()
@json_option
def status(*, as_json: bool) -> None:
    """Show V1's conversations and orphans, the openings of both engines, and whether V1 may retire.

    \b
    Examples:
      care-collective legacy status
      care-collective legacy status --json
    """
    from care_collective.operations import legacy as operations

    found = _told(lambda owner, _: operations.status(owner))
    if as_json:
        show_json(found)
        return
    states = ", ".join(f"{count} {state}" for state, count in sorted(found["conversations"].items()))
    click.echo(f"Conversations in V1: {states or 'none'}; moved to V2: {found['moved']}")
    click.echo(f"Orphans: {len(found['orphans'])}")
    if found["orphans"]:
        show_table(
            ("conversation", "community", "opened", "age"),
            [
                (o["conversation_id"], o["community_id"], minute(o["opened_at"]), _age(o["age_seconds"]))
                for o in found["orphans"]
            ],
        )
    show_table(("openings on", "V1", "V2"), [(d["day"], d["v1"], d["v2"]) for d in found["days"][-14:]])
    for name, words in (("last_14_days", "14 days"), ("last_44_days", "44 days")):
        click.echo(f"In {words}: {found['openings'][name]['v1']} in V1, {found['openings'][name]['v2']} in V2")
    click.echo(_retirement(found["retire"]))


def _retirement(found: dict[str, Any]) -> str:
    if found["retired_at"] is not None:
        return f"V1 is retired since {minute(found['retired_at'])}: off means that new offers are paused."
    last = "none yet" if found["last_opening"] is None else f"the last on {minute(found['last_opening'])}"
    if found["may"]:
        return f"V1 may retire. Openings in V1: {last}."
    if found["from"] is None:
        stood = found["stopped"] or f"at {found['stage']}"
        return f"V1 may not retire: V2 is {stood}, and has to be at on for 44 days. Openings in V1: {last}."
    return f"V1 may not retire before {minute(found['from'])}, if it opens nothing more. Openings in V1: {last}."


def _age(seconds: int) -> str:
    for unit in ("d", "h", "m"):
        if seconds >= _UNITS[unit]:
            return f"{seconds // _UNITS[unit]} {unit}"
    return f"{seconds} s"


def _seconds(_: click.Context, __: click.Parameter, text: str) -> int:
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdigit() and unit in _UNITS and 60 <= int(number) * _UNITS[unit] <= 10**9):
        raise click.BadParameter("Give a number and s, m, h or d, as 90m or 2h; a minute at least.")
    return int(number) * _UNITS[unit]


@legacy.command()
@click.option(
    "--older", default="1h", show_default=True, metavar="TIME", callback=_seconds, help="Leave what is younger, as 90m."
)
@_dry_run
@json_option
def repair(*, older: int, dry_run: bool, as_json: bool) -> None:
    """Remove what V1 left half opened, and count wrong numbers of unread messages anew.

    Nobody's words are in a half-opened conversation; its helper can offer anew at any time, also at this moment. Each
    is a line in the audit log. Running it again does nothing more.

    \b
    Examples:
      care-collective legacy repair --dry-run
      care-collective legacy repair --older 1d
    """
    from care_collective.operations import legacy as operations

    mended = _told(lambda owner, _: operations.repair(owner, older_seconds=older, actor=_actor(), dry_run=dry_run))
    if as_json:
        show_json({"dry_run": dry_run, "repaired": mended})
        return
    if not mended:
        click.echo("There is nothing to mend.")
        return
    done = {True: "mended", False: "would be mended" if dry_run else "left: it is in use or mended already"}
    show_table(
        ("kind", "conversation", "community", ""),
        [(one.kind, one.conversation_id, one.community_id, done[one.done]) for one in mended],
    )


@legacy.command()
@click.argument("conversations", nargs=-1, type=click.UUID, metavar="[CONVERSATION_ID]...")
@click.option("--all", "everything", is_flag=True, help="All that are in V1.")
@_dry_run
@json_option
def migrate(*, conversations: tuple[UUID, ...], everything: bool, dry_run: bool, as_json: bool) -> None:
    """Move conversations whole from V1 to V2, under their own ids, while members write.

    Everything stays as it is for its two people: messages and their order, times, what is read, hidden, muted, closed
    or declined. Each is moved by itself and compared before it counts; stop and repeat it as you like. Make a backup
    before. Exit 1 says that some stay in V1, and why.

    \b
    Examples:
      care-collective legacy migrate --all --dry-run
      care-collective legacy migrate 6f1c2a5e-9d34-4e0b-8f6a-0d5c2b7e4a11
    """
    if everything == bool(conversations):
        raise click.UsageError("Name conversations, or say --all.")
    from care_collective.operations import legacy as operations

    chosen = None if everything else conversations
    result = _told(lambda owner, tell: operations.move(owner, chosen, actor=_actor(), dry_run=dry_run, tell=tell))
    if as_json:
        show_json({"dry_run": dry_run, **_fields(result)})
    else:
        already = f"; moved before: {result.already}" if result.already else ""
        click.echo(
            f"{'Can be moved' if dry_run else 'Moved'}: {result.moved}; stay in V1: {len(result.stayed)}{already}"
        )
        if result.stayed:
            show_table(
                ("stays", "community", "why"), [(s.conversation_id, s.community_id, s.why) for s in result.stayed]
            )
            for why, words in dict.fromkeys((s.why, s.next_step) for s in result.stayed):
                click.echo(f"\n{why}: {spoken(words)}")
    sys.exit(1 if result.stayed else 0)


def _fields(result: object) -> dict[str, Any]:
    import msgspec

    return dict(msgspec.structs.asdict(result))  # type: ignore[arg-type]


@legacy.command()
@json_option
def verify(*, as_json: bool) -> None:
    """Compare every moved conversation with what was written down of it when it was moved.

    Numbers, order and contents, by the SHA-256 of the messages. Exit 1 says that something is not as it was moved.

    \b
    Example:
      care-collective legacy verify --json
    """
    from care_collective.operations import legacy as operations

    result = _told(lambda owner, tell: operations.verify(owner, tell=tell))
    if as_json:
        show_json(_fields(result))
    else:
        click.echo(
            f"Compared: {result.conversations} conversations with {result.messages} messages as they were moved."
        )
        if result.found:
            show_table(
                ("conversation", "community", "what is wrong"),
                [(f.conversation_id, f.community_id, operations.WRONG[f.wrong]) for f in result.found],
            )
        else:
            click.echo("All of them are as they were moved.")
    sys.exit(1 if result.found else 0)


@legacy.command()
@click.option("--why", "reason", required=True, metavar="WORDS", help="The reason, kept in the history.")
@click.option("--force", is_flag=True, help="Also before the time.")
@click.option("--undo", is_flag=True, help="Take the retirement back: off means V1 again.")
@click.option("--as", "by", metavar="EMAIL", help="The operator who acts; else the login of this machine.")
@json_option
def retire(*, reason: str, force: bool, undo: bool, by: str | None, as_json: bool) -> None:
    """Retire V1: from then on, where V2 is off, new offers are paused and every thread goes on.

    Refused until V1 has opened nothing for 44 days with V2 at stage on (legacy status says from when). V1's
    conversations stay and go on. Exit 1 says that it was refused, 3 that a node is silent.

    \b
    Examples:
      care-collective legacy retire --why "On for two months, V1 has opened nothing"
      care-collective legacy retire --undo --why "V2 has to be stopped for a day"
    """
    made, nodes = _told(lambda owner, _: _retire(owner, undo=undo, force=force, reason=reason, by=by))
    silent = [node.name for node in nodes if node.seconds is None]
    if as_json:
        show_json({**made, "nodes": nodes, "silent": silent})
    elif undo:
        click.echo("V1 is back: where V2 is off, new conversations open in V1.")
    else:
        click.echo("V1 is retired: where V2 is off, new offers are paused. Every thread goes on where it is.")
    if silent:
        click.echo(
            f"Silent, perhaps dead: {', '.join(silent)}. The database refuses what is paused all the same.", err=True
        )
        sys.exit(_SILENT)


async def _retire(
    owner: "Database", *, undo: bool, force: bool, reason: str, by: str | None
) -> "tuple[dict[str, Any], list[Reach]]":
    from datetime import datetime

    from care_collective.rollout import switch

    arguments = {"reason": reason, "force": "true" if force else None}
    answer = await switch.command(owner, "unretire" if undo else "retire", arguments, by=by, login=getuser())
    made = answer.data()
    at = datetime.fromisoformat(made["at"])
    return made, await switch.reach(owner, generation=made["generation"], since=at)
