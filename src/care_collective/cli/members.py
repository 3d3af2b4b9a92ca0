"""The commands for members. The first operator of a deployment is made here."""

from datetime import UTC, datetime
from getpass import getuser
from typing import TYPE_CHECKING, Any

import rich_click as click

from care_collective.cli.owner import as_owner, in_community
from care_collective.cli.show import json_option, show_json, show_table, spoken

if TYPE_CHECKING:
    from uuid import UUID

    from care_collective.db.call import Database
    from care_collective.operations.people import Account, Community


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

    An account that the address has in another community gets that password, too, and is signed out everywhere.

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

    made = in_community(slug, work)
    if as_json:
        show_json(made)
    elif made.had_account:
        click.echo(
            f"{email} is a member now. They had an account; its password is replaced by {made.password}, shown only "
            "here, and its sessions are ended."
        )
    else:
        click.echo(f"{email} is a member now. Their password, shown only here: {made.password}")


@member.command()
@_email
@_community_option
@json_option
def password(*, email: str, slug: str | None, as_json: bool) -> None:
    """Give a member a new random password, shown once, and sign them out everywhere.

    For who has forgotten theirs where no letters are sent. Be sure that it is they who ask.

    \b
    Example:
      care-collective member password rosa@example.org
    """
    from care_collective.accounts.passwords import Passwords
    from care_collective.operations import people

    async def work(owner: "Database", community: "Community") -> people.Invitation:
        hasher = Passwords()
        try:
            return await people.renew_password(owner, community, email, hash_password=hasher.hash)
        finally:
            hasher.close()

    made = in_community(slug, work)
    if as_json:
        show_json({"user_id": made.user_id, "email": made.email, "password": made.password})
    else:
        click.echo(f"{email} is signed out everywhere. Their new password, shown only here: {made.password}")


@member.command()
@_email
@_community_option
@json_option
def approve(*, email: str, slug: str | None, as_json: bool) -> None:
    """Approve a member who waits, or one who was rejected.

    \b
    Example:
      care-collective member approve rosa@example.org
    """
    _decide(email, slug, "approved", None, as_json=as_json)


@member.command()
@_email
@click.option("--reason", help="Shown to them, to 500 characters.")
@_community_option
@json_option
def reject(*, email: str, reason: str | None, slug: str | None, as_json: bool) -> None:
    """Reject a member. It holds from their next call on.

    \b
    Example:
      care-collective member reject rosa@example.org --reason "We could not find your street."
    """
    _decide(email, slug, "rejected", reason, as_json=as_json)


def _fields(account: "Account") -> dict[str, Any]:
    from msgspec.structs import asdict  # here, so that --help need not load it

    return asdict(account)


def _decide(email: str, slug: str | None, status: str, reason: str | None, *, as_json: bool) -> None:
    from care_collective.operations import people

    account = in_community(slug, lambda owner, community: people.decide(owner, community, email, status, reason))
    if as_json:
        show_json({**_fields(account), "verification_status": status})
        return
    click.echo(f"{email} is {status}.")
    if status == "approved":
        _tell_unproved(account)


def _tell_unproved(account: "Account") -> None:
    if not account.address_proved:
        click.echo(f"Account {account.email}, since {account.since:%Y-%m-%d}. Nobody has proved the address yet.")


@member.command()
@_email
@click.argument("role", type=click.Choice(["member", "coordinator", "operator"]))
@click.option("--take", is_flag=True, help="Take the operator's right away.")
@_community_option
@json_option
def role(*, email: str, role: str, take: bool, slug: str | None, as_json: bool) -> None:
    """Give a member a role.

    A coordinator runs a community; `member` makes them a plain member of it again. An operator runs the whole
    deployment; that right stays until it is taken with --take.

    \b
    Examples:
      care-collective member role rosa@example.org operator
      care-collective member role rosa@example.org operator --take
    """
    from care_collective.operations import people

    if take and role != "operator":
        raise click.UsageError("--take goes with operator; `member` takes a coordinator's role away.")

    async def work(owner: "Database", community: "Community") -> "Account":
        if take:
            return await people.take_operator(owner, community, email)
        return await people.give_role(owner, community, email, role, by=f"command line, {getuser()}")

    account = in_community(slug, work)
    if as_json:
        show_json({**_fields(account), "role": role})
        return
    if take:
        click.echo(f"{email} is no operator any more.")
        return
    article = "an" if role == "operator" else "a"
    click.echo(f"{email} is {'a plain member' if role == 'member' else f'{article} {role} now'}.")
    if role != "member":
        _tell_unproved(account)
    elif account.is_operator:
        command = spoken(f"care-collective member role {email} operator --take")
        click.echo(f"They are still an operator of the deployment; {command} takes that away.")


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

    found = in_community(slug, lambda owner, community: people.list_members(owner, community, status))
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


@member.command()
@click.argument("user_id", metavar="ID", type=click.UUID)
@click.option("--yes", is_flag=True, help="Do not ask.")
@_community_option
@json_option
def erase(*, user_id: "UUID", yes: bool, slug: str | None, as_json: bool) -> None:
    """Erase a member as their own deletion does, for good.

    For who asks for it in another way than by their page, and after a restore: a backup has whoever was erased since.
    It may be repeated. What they wrote to others stays, as a former member's.

    \b
    Example:
      care-collective member erase 7f1d0c0e-5d3c-4c1e-9a54-1f0f6f0f7a11
    """
    from care_collective.operations import people

    if not yes:
        click.confirm(f"Erase {user_id}? Nobody can undo it.", abort=True, err=True)
    by = f"command line, {getuser()}"
    in_community(slug, lambda owner, community: people.erase(owner, community, user_id, by=by))
    if as_json:
        show_json({"user_id": user_id, "erased": True})
    else:
        click.echo(f"{user_id} is erased.")


@member.command()
@click.option("--since", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]), required=True, help="A time, UTC.")
@json_option
def erased(*, since: datetime, as_json: bool) -> None:
    """List who was erased since a time, by id, to erase them again where an older backup is restored.

    \b
    Example:
      care-collective member erased --since 2026-11-01
    """
    from care_collective.operations import people

    found = as_owner(lambda owner: people.list_erased(owner, since.replace(tzinfo=UTC)))
    if as_json:
        show_json({"erased": found})
        return
    show_table(("id", "community", "at", "by"), [(str(e.user_id), str(e.community_id), str(e.at), e.by) for e in found])
