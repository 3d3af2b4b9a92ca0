"""Communities and members, as an operator's commands look after them. Every function takes the owner's database."""

import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from care_collective.db.call import Answer, Database
from care_collective.errors import CareError, Code, SettingsError

# Without letters that look alike: it is read from a screen and typed on a phone. 5 bits each, 80 in all.
_LETTERS: Final = "abcdefghijkmnpqrstuvwxyz23456789"


class Community(msgspec.Struct, frozen=True):
    """A community and how many members it has, those who wait for approval among them."""

    id: UUID
    slug: str
    name: str
    hosts: tuple[str, ...]
    time_zone: str
    emergency_line: str | None
    members: int
    pending: int
    settings: dict[str, Any]


class Member(msgspec.Struct, frozen=True):
    """A member of a community. Nothing that they wrote."""

    user_id: UUID
    email: str | None
    display_name: str
    town: str | None
    verification_status: str
    is_coordinator: bool
    is_operator: bool
    restriction: str | None
    created_at: str


class Invitation(msgspec.Struct, frozen=True):
    """A member and their new password; `had_account`: it replaces the one that their account had."""

    user_id: UUID
    email: str
    password: str
    had_account: bool


class Account(msgspec.Struct, frozen=True):
    """Whom a role or an approval is given to. `address_proved` is whether the address was ever shown to be theirs."""

    user_id: UUID
    email: str | None
    since: datetime
    address_proved: bool
    is_operator: bool


async def list_communities(owner: Database) -> list[Community]:
    """Every community, by slug."""
    return msgspec.json.decode(await owner.value("care.list_communities"), type=list[Community])


async def choose_community(owner: Database, slug: str | None) -> Community:
    """The community of a slug, or the only one. Errors: SettingsError that names those there are."""
    known = await list_communities(owner)
    found = [community for community in known if slug in (None, community.slug)]
    if not known:
        raise SettingsError('There is no community yet. Add one: care-collective community add SLUG --name "…"')
    if not found:
        raise SettingsError(f"There is no community {slug}. There is: {', '.join(c.slug for c in known)}.")
    if len(found) > 1:
        raise SettingsError(f"Say which community, with --community: {', '.join(c.slug for c in known)}.")
    return found[0]


async def add_community(
    owner: Database, *, slug: str, name: str, hosts: list[str], time_zone: str, emergency_line: str | None
) -> Community:
    """Makes a community. Errors: CareError `validation_error` for a slug or host that is taken, or a wrong field."""
    answer = await owner.call(
        "care.add_community",
        p_slug=slug,
        p_name=name,
        p_hosts=hosts,
        p_time_zone=time_zone,
        p_emergency_line=emergency_line,
    )
    return _community(answer)


async def set_community(owner: Database, community: Community, changes: dict[str, Any]) -> Community:
    """Changes what `changes` names: name, hosts, time_zone, emergency_line. Errors: as add_community."""
    text = msgspec.json.encode(changes).decode()
    return _community(await owner.call("care.set_community", p_community_id=community.id, p_changes=text))


def _community(answer: Answer) -> Community:
    return msgspec.convert(answer.data()["community"], Community)


async def list_members(owner: Database, community: Community, status: str | None) -> list[Member]:
    """The members of a community by name; `status` is pending, approved, rejected or None for all."""
    text = await owner.value("care.list_members", p_community_id=community.id, p_status=status)
    return msgspec.json.decode(text, type=list[Member])


async def invite(
    owner: Database,
    community: Community,
    *,
    email: str,
    name: str,
    town: str | None,
    coordinator: bool,
    hash_password: Callable[[str], Awaitable[str]],
) -> Invitation:
    """Makes an approved member with a random password. `email` comes in its normal form.

    An account that is there already gets that password, too, and loses its sessions: nobody has proved that whoever
    made it owns the address.

    Errors: CareError `validation_error` where the address is a member already or a text breaks its limits.
    """
    password = new_password()
    answer = await owner.call(
        "care.invite_member",
        p_community_id=community.id,
        p_email=email,
        p_secret=await hash_password(password),
        p_display_name=name,
        p_town=town,
        p_coordinator=coordinator,
    )
    made = answer.data()
    return Invitation(UUID(made["user_id"]), email, password, made["had_account"])


async def renew_password(
    owner: Database, community: Community, email: str, *, hash_password: Callable[[str], Awaitable[str]]
) -> Invitation:
    """Gives a member a new random password and ends their sessions, in every community of theirs.

    Errors: CareError `not_found` for who is no member; `conflict` where the account has no password, or another was
    set in the same moment.
    """
    user_id = await find(owner, community, email)
    password = new_password()
    secret = await hash_password(password)
    set_at = await owner.value("care.password_set_at", p_user_id=user_id)
    done = set_at is not None and await owner.value(
        "care.replace_password", p_user_id=user_id, p_secret=secret, p_set_at=set_at, p_keep_session=None
    )
    if not done:
        raise CareError(Code.CONFLICT, message=f"{email} has no password here, or has just changed it. Look again.")
    return Invitation(user_id, email, password, had_account=True)


def new_password() -> str:
    """A random password of 16 letters and digits in groups of four."""
    letters = [secrets.choice(_LETTERS) for _ in range(16)]
    return "-".join("".join(letters[place : place + 4]) for place in range(0, 16, 4))


async def find(owner: Database, community: Community, email: str) -> UUID:
    """The user id of a member. Errors: CareError `not_found`."""
    found = await owner.value("care.find_member", p_community_id=community.id, p_email=email)
    if found is None:
        raise CareError(Code.NOT_FOUND, message=f"{email} is no member of {community.slug}.")
    return UUID(str(found))


async def decide(owner: Database, community: Community, email: str, status: str, reason: str | None) -> Account:
    """Approves or rejects a member; the reason (to 500 characters) is shown to them. Errors: CareError `not_found`."""
    user_id = await find(owner, community, email)
    await owner.value(
        "care.decide_member", p_community_id=community.id, p_user_id=user_id, p_status=status, p_reason=reason
    )
    return await _account(owner, user_id)


async def give_role(owner: Database, community: Community, email: str, role: str, *, by: str) -> Account:
    """Makes a member coordinator of the community or a plain member of it again, or operator of the deployment."""
    user_id = await find(owner, community, email)
    await owner.value("care.set_role", p_community_id=community.id, p_user_id=user_id, p_role=role, p_granted_by=by)
    return await _account(owner, user_id)


async def take_operator(owner: Database, community: Community, email: str) -> Account:
    """Takes a member's operator right away, which is the deployment's; roles in communities stay."""
    user_id = await find(owner, community, email)
    await owner.value("care.take_operator", p_user_id=user_id)
    return await _account(owner, user_id)


async def _account(owner: Database, user_id: UUID) -> Account:
    return msgspec.json.decode(await owner.value("care.account_of", p_user_id=user_id), type=Account)


class Erasure(msgspec.Struct, frozen=True):
    """A member who was erased, by id alone: themselves, or by an operator's command."""

    user_id: UUID
    community_id: UUID
    at: datetime
    by: str


async def erase(owner: Database, community: Community, user_id: UUID, *, by: str) -> None:
    """Erases a member of a community as their own deletion would, or what a deletion left; may be repeated.

    Asks nothing of the last coordinator or operator. Errors: CareError `not_found` for who never was a member there.
    """
    found = await owner.value("care.erase_again", p_community_id=community.id, p_user_id=user_id, p_by=by)
    if not found:
        raise CareError(Code.NOT_FOUND, message=f"{user_id} never was a member of {community.slug}.")


async def list_erased(owner: Database, since: datetime) -> list[Erasure]:
    """Who was erased since a time, oldest first, as far as the audit log goes back: 13 months."""
    return msgspec.json.decode(await owner.value("care.list_erased", p_since=since), type=list[Erasure])
