"""The commands of the rollout: how the flag stands, the switch, the cohort. Other commands of the group join here."""

import sys
from getpass import getuser
from typing import TYPE_CHECKING, Any

import rich_click as click

from care_collective.cli.guard import replay, rule, simulate
from care_collective.cli.numbers import show_numbers
from care_collective.cli.owner import as_owner, beside
from care_collective.cli.preflight import incident, preflight
from care_collective.cli.rehearsal import rehearse
from care_collective.cli.show import (
    by_option,
    flag_option,
    json_option,
    minute,
    reason_option,
    settings,
    show_json,
    show_table,
)

if TYPE_CHECKING:
    from care_collective.db.call import Database
    from care_collective.rollout.kpis import Kpis
    from care_collective.rollout.switch import Reach

_SILENT = 3
_NO_SUCH_FUNCTION = "42883"  # the database is of an older release: it is shown what that has

_wait = click.option(
    "--wait", type=click.FloatRange(0, 600), default=5, show_default=True, help="Seconds to wait for the nodes."
)


@click.group()
def rollout() -> None:
    """See who opens new conversations in V2, move it forward, and stop it."""


for _command in (preflight, incident, rehearse, simulate, replay, rule):
    rollout.add_command(_command)


def _change(
    action: str, by: str | None, flag: str, *, wait: float = 5, stop: bool = False, **arguments: str | None
) -> "tuple[dict[str, Any], list[Reach]]":
    """Makes a change and waits for the nodes; the function's answer and every live node."""
    from datetime import datetime

    from care_collective.rollout import switch

    async def work(owner: "Database") -> "tuple[dict[str, Any], list[Reach]]":
        answer = await switch.command(owner, action, {"flag": flag, **arguments}, by=by, login=getuser())
        made = answer.data()
        since = datetime.fromisoformat(made["at"])
        return made, await switch.reach(owner, generation=made["generation"], since=since, wait_seconds=wait)

    return (beside if stop else as_owner)(work)


def _show_change(made: "dict[str, Any]", nodes: "list[Reach]", words: str, *, as_json: bool) -> None:
    """Shows what a change came to on each node; exits with 3 where one has not said that it has it in force."""
    from care_collective.rollout.switch import features

    silent = [node for node in nodes if node.seconds is None]
    told = features(nodes)
    if as_json:
        show_json(
            {**made, "nodes": nodes, "silent": [node.name for node in silent], "features": {"messaging_v2": told}}
        )
    else:
        click.echo(words)
        show_table(
            ("node", "seconds", "in force", "from"),
            [(n.name, "silent" if n.seconds is None else f"{n.seconds:.3f}", n.stage, n.source) for n in nodes],
        )
        if told is None:
            click.echo("No node is running: whichever starts next begins with this.")
        else:
            click.echo(f"/api/features answers for nobody: messaging_v2 {str(told).lower()}")
    if silent:
        names = ", ".join(node.name for node in silent)
        click.echo(
            f"Silent, perhaps dead: {names}. The database refuses what a stop forbids, whatever they do.", err=True
        )
        sys.exit(_SILENT)


@rollout.command("set")
@click.argument("stage")
@reason_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@by_option
@flag_option
@_wait
@json_option
def set_(*, stage: str, reason: str, yes: bool, by: str | None, flag: str, wait: float, as_json: bool) -> None:
    """Move to a stage: off, internal, percentage:N or on.

    Refused while it is stopped, and where the environment of a node, or of this command, declares the stage. Returns
    when every node has it in force. Exit 1 says that it was refused, 3 that a node is silent.

    \b
    Example:
      care-collective rollout set percentage:10 --why "A week of internal without a failure" --yes
    """
    _refuse_declared(flag)
    if not yes:
        click.confirm(f"Move {flag} to {stage}?", abort=True, err=True)
    made, nodes = _change("set", by, flag, wait=wait, stage=stage, reason=reason)
    _show_change(made, nodes, f"The stage of {flag} is {stage} now.", as_json=as_json)


def _refuse_declared(flag: str) -> None:
    from care_collective.errors import CareError, Code

    known = settings()
    if flag == "messaging_v2" and (known.messaging_v2_enabled, known.messaging_v2_rollout) != (None, None):
        raise CareError(
            Code.CONFLICT,
            message="The environment declares the stage, which stands above the database. Take MESSAGING_V2_ENABLED "
            "and MESSAGING_V2_ROLLOUT out of it first. Nothing was changed.",
        )


@rollout.command()
@click.option(
    "--why",
    required=True,
    type=click.Choice(["data-loss", "security", "errors", "complaints", "other"]),
    help="What kind of reason it is.",
)
@click.argument("words")
@by_option
@flag_option
@_wait
@json_option
def kill(*, why: str, words: str, by: str | None, flag: str, wait: float, as_json: bool) -> None:
    """Stop V2 on every node at once, with the reason in WORDS.

    New conversations open in V1, or new offers are paused once that is retired; every thread goes on where it is. Needs
    no deploy and no restart. Returns when every node has it in force, and says after how many seconds. Exit 1 says that
    it was stopped already, 3 that a node is silent.

    \b
    Example:
      care-collective rollout kill --why errors "Offers fail since 9:40"
    """
    made, nodes = _change("kill", by, flag, wait=wait, stop=True, why=why, reason=words)
    _show_change(
        made,
        nodes,
        f"{flag} is stopped: new conversations open in V1 (or are paused, once that is retired), and every thread goes "
        "on where it is.",
        as_json=as_json,
    )


@rollout.command()
@click.argument("stage", default="internal")
@reason_option
@by_option
@flag_option
@_wait
@json_option
def resume(*, stage: str, reason: str, by: str | None, flag: str, wait: float, as_json: bool) -> None:
    """Go on after a stop, at STAGE: internal unless you name another.

    Exit 1 says that it is not stopped, 3 that a node is silent.

    \b
    Example:
      care-collective rollout resume --why "Mended by release 0.1.1"
    """
    made, nodes = _change("resume", by, flag, wait=wait, stage=stage, reason=reason)
    _show_change(made, nodes, f"{flag} goes on at {stage}.", as_json=as_json)


def _look(flag: str, changes: int) -> dict[str, Any]:
    from care_collective.rollout import switch

    return beside(lambda owner: switch.look(owner, flag, changes=changes))


def _look_whole(flag: str) -> "tuple[dict[str, Any], Kpis | None]":
    """The flag, and its numbers where the database is of this release."""
    from care_collective.errors import CareError
    from care_collective.rollout import kpis, switch

    async def work(owner: "Database") -> "tuple[dict[str, Any], Kpis | None]":
        found = await switch.look(owner, flag, changes=5)
        try:
            return found, await kpis.look(owner, flag, changes=5)
        except CareError as error:
            if error.sqlstate != _NO_SUCH_FUNCTION:
                raise
            return found, None

    return beside(work)


def _further(numbers: "Kpis | None") -> dict[str, Any]:
    if numbers is None:
        return {}
    return {"in_force": numbers.in_force, "numbers": numbers.numbers, "guard": numbers.guard, "exit": numbers.exit}


@rollout.command()
@flag_option
@json_option
def status(*, flag: str, as_json: bool) -> None:
    """Show the stage, who stopped it, the cohort, the nodes, the last changes, the numbers, and if the stage may end.

    Exit 1 says that the stage cannot be read, which is off and an alarm.

    \b
    Example:
      care-collective rollout status
    """
    found, numbers = _look_whole(flag)
    if as_json:
        show_json({**found, **_further(numbers)})
    else:
        _show_status(found)
        if numbers is not None:
            show_numbers(numbers)
    if not found["readable"]:
        click.echo(
            "The stage cannot be read, hence it is off. Set it anew: care-collective rollout set STAGE", err=True
        )
        sys.exit(1)


def _show_status(found: dict[str, Any]) -> None:
    stop = found["stopped_by"]
    if stop is None:
        click.echo(f"{found['name']}: {found['stage']} ({_share(found['stage'])}), since {minute(found['since'])}")
    else:
        click.echo(f"{found['name']}: stopped since {minute(stop['at'])}; the stage before was {found['stage']}")
        click.echo(f"{found['stopped'].capitalize()} by {stop['actor']} ({stop['why']}): {stop['words']}")
    if found.get("retired"):  # no answer of an older release has it
        click.echo("V1 is retired: whoever is outside V2 cannot offer, and every thread goes on.")
    emails = ", ".join(member["email"] for member in found["cohort"])
    click.echo(f"Cohort: {emails or 'coordinators and operators, as nobody is named'}")
    nodes = [
        (
            node["name"],
            node["release"],
            node["stage"],
            node["source"],
            "ALARM" if node["alarm"] else "",
            f"{node['seen_seconds_ago']} s ago",
        )
        for node in found["nodes"]
    ]
    if nodes:
        show_table(("node", "release", "in force", "from", "alarm", "seen"), nodes)
    else:
        click.echo("No node is running.")
    _show_changes(found["changes"])


def _share(stage: str) -> str:
    kind, _, percent = stage.partition(":")
    shares = {"internal": "the cohort", "percentage": f"{percent} % of members and the cohort", "on": "all members"}
    return shares.get(kind, "nobody")


def _show_changes(changes: list[dict[str, Any]]) -> None:
    if not changes:
        click.echo("Nothing was changed yet.")
        return
    show_table(
        ("when", "who", "what", "from", "to", "why", "words"),
        [
            (minute(c["at"]), c["actor"], c["action"], c["from_stage"], c["to_stage"], c["why"], c["words"])
            for c in changes
        ],
    )


@rollout.command()
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many, newest first.")
@flag_option
@json_option
def history(*, limit: int, flag: str, as_json: bool) -> None:
    """Show every change and warning: who, when, from where to where, and why.

    \b
    Example:
      care-collective rollout history --limit 10 --json
    """
    changes = _look(flag, limit)["changes"]
    if as_json:
        show_json({"changes": changes})
    else:
        _show_changes(changes)


@rollout.group()
def cohort() -> None:
    """Name the members who get V2 first. While nobody is named it is coordinators and operators."""


@cohort.command("add")
@click.argument("email")
@reason_option
@by_option
@flag_option
@json_option
def add(*, email: str, reason: str, by: str | None, flag: str, as_json: bool) -> None:
    """Name a member for the cohort.

    \b
    Example:
      care-collective rollout cohort add rosa@example.org --why "She offered to try it"
    """
    made, nodes = _change("cohort_add", by, flag, email=email, reason=reason)
    _show_change(made, nodes, f"{email} is in the cohort now.", as_json=as_json)


@cohort.command("remove")
@click.argument("email")
@reason_option
@by_option
@flag_option
@json_option
def remove(*, email: str, reason: str, by: str | None, flag: str, as_json: bool) -> None:
    """Take a member out of the cohort. Their threads stay where they are.

    \b
    Example:
      care-collective rollout cohort remove rosa@example.org --why "She is away for a while"
    """
    made, nodes = _change("cohort_remove", by, flag, email=email, reason=reason)
    _show_change(made, nodes, f"{email} is out of the cohort now.", as_json=as_json)


@cohort.command("list")
@flag_option
@json_option
def list_(*, flag: str, as_json: bool) -> None:
    """List who is named for the cohort.

    \b
    Example:
      care-collective rollout cohort list
    """
    members = _look(flag, 1)["cohort"]
    if as_json:
        show_json({"cohort": members})
    elif members:
        show_table(
            ("e-mail", "added by", "since"), [(m["email"], m["added_by"], minute(m["added_at"])) for m in members]
        )
    else:
        click.echo("Nobody is named: it is coordinators and operators.")
