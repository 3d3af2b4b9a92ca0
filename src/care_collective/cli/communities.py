"""The commands for communities."""

from typing import TYPE_CHECKING

import rich_click as click

from care_collective.cli.owner import as_owner, in_community
from care_collective.cli.show import json_option, show_json, show_table, spoken

if TYPE_CHECKING:
    from care_collective.operations.people import Community


@click.group()
def community() -> None:
    """Look after the communities of this deployment."""


@community.command()
@click.argument("slug")
@click.option("--name", required=True, help="What people call it, to 80 characters.")
@click.option("--host", "hosts", multiple=True, help="A host name that it answers at; may be given several times.")
@click.option("--time-zone", default="UTC", show_default=True, help="As in Europe/Lisbon.")
@click.option("--emergency-line", help='What to call in an emergency, as in "112".')
@json_option
def add(
    *, slug: str, name: str, hosts: tuple[str, ...], time_zone: str, emergency_line: str | None, as_json: bool
) -> None:
    """Add a community. The only one needs no host name.

    \b
    Example:
      care-collective community add linden-row --name "Linden Row Neighbours" --time-zone Europe/Lisbon
    """
    from care_collective.operations import people

    made = as_owner(
        lambda owner: people.add_community(
            owner, slug=slug, name=name, hosts=_hosts(hosts), time_zone=time_zone, emergency_line=emergency_line
        )
    )
    if as_json:
        show_json(made)
        return
    click.echo(f"{made.name} ({made.slug}) is there.")
    invitation = f'care-collective member invite EMAIL --name "…" --coordinator --community {made.slug}'
    click.echo(spoken(f"Its first coordinator: {invitation}"))


@community.command("set")
@click.argument("slug")
@click.option("--name", help="What people call it, to 80 characters.")
@click.option("--host", "hosts", multiple=True, help='Replaces all its host names; "" takes them away.')
@click.option("--time-zone", help="As in Europe/Lisbon.")
@click.option("--emergency-line", help='What to call in an emergency; "" takes it away.')
@json_option
def set_(
    *,
    slug: str,
    name: str | None,
    hosts: tuple[str, ...],
    time_zone: str | None,
    emergency_line: str | None,
    as_json: bool,
) -> None:
    """Change a community: what is named, nothing else.

    \b
    Example:
      care-collective community set linden-row --host help.example.org --emergency-line 112
    """
    from care_collective.operations import people

    given = {"name": name, "hosts": _hosts(hosts) if hosts else None}
    given |= {"time_zone": time_zone, "emergency_line": emergency_line}
    changes = {field: value for field, value in given.items() if value is not None}
    if not changes:
        raise click.UsageError("Say what to change, with --name, --host, --time-zone or --emergency-line.")
    made = in_community(slug, lambda owner, community: people.set_community(owner, community, changes))
    if as_json:
        show_json(made)
    else:
        _show_communities([made])


def _hosts(given: tuple[str, ...]) -> list[str]:
    """Host names as requests carry them: small letters, no port."""
    hosts = [host.strip().lower().rstrip(".") for host in given if host.strip()]
    for host in hosts:
        if not all(letter.isascii() and (letter.isalnum() or letter in "-._") for letter in host):
            raise click.UsageError(
                f"{host!r} is no host name. Write it without scheme and port, as in help.example.org."
            )
    return hosts


@community.command("list")
@json_option
def list_communities(*, as_json: bool) -> None:
    """List the communities of this deployment.

    \b
    Example:
      care-collective community list --json
    """
    from care_collective.operations import people

    found = as_owner(people.list_communities)
    if as_json:
        show_json({"communities": found})
    elif found:
        _show_communities(found)
    else:
        click.echo(spoken('There is none yet. Add one: care-collective community add SLUG --name "…"'))


def _show_communities(found: "list[Community]") -> None:
    show_table(
        ("slug", "name", "hosts", "time zone", "emergency line", "members", "pending"),
        [(c.slug, c.name, " ".join(c.hosts), c.time_zone, c.emergency_line, c.members, c.pending) for c in found],
    )
