"""The commands for communities and members. The first operator of a deployment is made here."""

from collections.abc import Awaitable, Callable
from getpass import getuser
from typing import TYPE_CHECKING, TypeVar

import rich_click as click

from care_collective.cli.show import json_option, progress, run, settings, show_json, show_table, spoken

if TYPE_CHECKING:
    from care_collective.db.call import Database
    from care_collective.operations.people import Community

T = TypeVar("T")


class _Email(click.ParamType[str]):
    name = "e-mail"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The form in which addresses are kept."""
        from care_collective.accounts.people import normal_email

        normal = normal_email(value)
        if normal is None:
            self.fail(f"{value!r} is no e-mail address, such as name@example.org.", param, ctx)
        return normal


_community_option = click.option(
    "--community", "slug", metavar="SLUG", help="Which community, where there are several."
)
_email = click.argument("email", type=_Email())


def _as_owner(work: "Callable[[Database], Awaitable[T]]") -> T:
    from care_collective.operations.startup import as_owner

    known = settings()

    async def connected() -> T:
        with progress() as tell:
            async with as_owner(known, tell=tell) as owner:
                return await work(owner)

    return run(connected())


def _in_community(slug: str | None, work: "Callable[[Database, Community], Awaitable[T]]") -> T:
    from care_collective.operations.people import choose_community

    async def chosen(owner: "Database") -> T:
        return await work(owner, await choose_community(owner, slug))

    return _as_owner(chosen)


@click.group()
def member() -> None:
    """Look after the members of a community."""


@member.command()
@_email
@click.option("--name", required=True, help="The name that neighbours see, to 80 characters.")
@click.option("--town", help="Where they live, to 80 characters.")
@click.option("--coordinator", is_flag=True, help="Make them a coordinator of the community, too.")
@_community_option
@json_option
def invite(*, email: str, name: str, town: str | None, coordinator: bool, slug: str | None, as_json: bool) -> None:
    """Make an approved member, with a random password that is shown once.

    \b
    Example:
      care-collective member invite rosa@example.org --name "Rosa Lindt" --coordinator
    """
    from care_collective.accounts.passwords import Passwords
    from care_collective.operations import people

    async def work(owner: "Database", community: "Community") -> people.Invitation:
        hasher = Passwords()
        try:
            return await people.invite(
                owner,
                community,
                email=email,
                name=name,
                town=town,
                coordinator=coordinator,
                hash_password=hasher.hash,
            )
        finally:
            hasher.close()

    made = _in_community(slug, work)
    if as_json:
        show_json(made)
    elif made.password is None:
        click.echo(f"{email} is a member now, with the password they have from another community.")
    else:
        click.echo(f"{email} is a member now. Their password, shown only here: {made.password}")


@member.command()
@_email
@_community_option
def approve(*, email: str, slug: str | None) -> None:
    """Approve a member who waits, or one who was rejected.

    \b
    Example:
      care-collective member approve rosa@example.org
    """
    _decide(email, slug, "approved", None)


@member.command()
@_email
@click.option("--reason", help="Shown to them, to 500 characters.")
@_community_option
def reject(*, email: str, reason: str | None, slug: str | None) -> None:
    """Reject a member. It holds from their next call on.

    \b
    Example:
      care-collective member reject rosa@example.org --reason "We could not find your street."
    """
    _decide(email, slug, "rejected", reason)


def _decide(email: str, slug: str | None, status: str, reason: str | None) -> None:
    from care_collective.operations import people

    _in_community(slug, lambda owner, community: people.decide(owner, community, email, status, reason))
    click.echo(f"{email} is {status}.")


@member.command()
@_email
@click.argument("role", type=click.Choice(["member", "coordinator", "operator"]))
@_community_option
def role(*, email: str, role: str, slug: str | None) -> None:
    """Give a member a role.

    A coordinator runs a community, an operator the whole deployment. `member` takes both roles away.

    \b
    Example:
      care-collective member role rosa@example.org operator
    """
    from care_collective.operations import people

    by = f"command line, {getuser()}"
    _in_community(slug, lambda owner, community: people.give_role(owner, community, email, role, by=by))
    click.echo(f"{email} is {'a plain member' if role == 'member' else f'{role} now'}.")


@member.command("list")
@click.option("--status", type=click.Choice(["pending", "approved", "rejected"]), help="Only these.")
@_community_option
@json_option
def list_(*, status: str | None, slug: str | None, as_json: bool) -> None:
    """List the members of a community.

    \b
    Example:
      care-collective member list --status pending
    """
    from care_collective.operations import people

    found = _in_community(slug, lambda owner, community: people.list_members(owner, community, status))
    if as_json:
        show_json({"members": found})
        return
    roles = [", ".join(_roles(member.is_coordinator, member.is_operator)) for member in found]
    show_table(
        ("name", "e-mail", "town", "status", "roles", "restriction"),
        [
            (m.display_name, m.email, m.town, m.verification_status, role, m.restriction)
            for m, role in zip(found, roles, strict=True)
        ],
    )


def _roles(is_coordinator: bool, is_operator: bool) -> list[str]:
    named = {"coordinator": is_coordinator, "operator": is_operator}
    return [name for name, given in named.items() if given]


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

    made = _as_owner(
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
    made = _in_community(slug, lambda owner, community: people.set_community(owner, community, changes))
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

    found = _as_owner(people.list_communities)
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
