"""The demo: a sample community in an embedded database of its own, and the words that say how to try it.

Its password is known to everybody. That is safe because it listens on this machine only, which is checked here.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Final
from uuid import UUID

import msgspec

from care_collective.db.call import Caller, Database
from care_collective.errors import SettingsError
from care_collective.operations import people
from care_collective.operations.demo.sample import DOMAIN, PASSWORD, Builder, Town, read_town
from care_collective.operations.startup import Deployment, owner_of
from care_collective.settings import Settings, is_loopback, load

# What of the environment reaches the demo: no database, no mail server, no address of a real deployment.
_HEEDED: Final = ("CARE_DATA_DIR", "CARE_HOST", "CARE_PORT", "CARE_LOG", "HOME", "XDG_STATE_HOME")
_FLAG: Final = ("MESSAGING_V2_ENABLED", "MESSAGING_V2_ROLLOUT")

# Who is shown, and what they are there to show.
_SHOWN: Final = (
    ("maria", "a member who asks for help and has offers, in both engines"),
    ("samuel", "a member who helps, with a car"),
    ("ruth", "the coordinator"),
    ("tomas", "the operator"),
    ("kofi", "waits for approval"),
    ("petra", "is suspended"),
    ("victor", "was rejected"),
)
_CALLER: Final = "samuel"


@dataclass(frozen=True, slots=True)
class Sample:
    """A made sample community by name, and a request in it that `_CALLER` can offer help on, if there is one left."""

    community: str
    request_id: UUID | None


def demo_settings(environ: Mapping[str, str]) -> Settings:
    """The settings of the demo: an embedded database in the folder demo of CARE_DATA_DIR, and nothing outside.

    New conversations open in V2 unless the flag is set.

    Errors: SettingsError for a wrong setting, or a CARE_HOST that others could reach.
    """
    heeded = {*_HEEDED, *_FLAG, *(f"NEXT_PUBLIC_{name}" for name in _FLAG)}
    settings = load({name: value for name, value in environ.items() if name in heeded})
    if not is_loopback(settings.host):
        raise SettingsError(
            f"CARE_HOST is {settings.host!r}: the demo's password is known to everybody, so that it listens on this "
            "machine only. Use 127.0.0.1, or `care-collective serve` for a community of your own."
        )
    # What a visitor tries is the engine that is to stay, unless the environment says otherwise.
    declared = settings.messaging_v2_enabled is not None or settings.messaging_v2_rollout is not None
    rollout = settings.messaging_v2_rollout if declared else "on"
    return msgspec.structs.replace(settings, data_dir=settings.data_dir / "demo", messaging_v2_rollout=rollout)


async def make_sample(
    deployment: Deployment, *, hash_password: Callable[[str], Awaitable[str]], tell: Callable[[str], None]
) -> Sample:
    """The sample community, made where it is not there yet. `hash_password` answers the hash to store."""
    town = read_town()
    async with owner_of(deployment) as owner:
        known = [community for community in await people.list_communities(owner) if community.slug == town.slug]
        community = known[0] if known else await _add(owner, town)
        if community.settings.get("sample") != "finished":
            tell("Making a sample community")
            await Builder(town, owner, deployment.database).make(community, hash_password=hash_password)
        user_id = await people.find(owner, community, f"{_CALLER}@{DOMAIN}")
    return Sample(community.name, await _to_offer_on(deployment.database, Caller(user_id, community.id)))


async def _add(owner: Database, town: Town) -> people.Community:
    return await people.add_community(
        owner, slug=town.slug, name=town.name, hosts=[], time_zone=town.time_zone, emergency_line=town.emergency_line
    )


async def _to_offer_on(database: Database, caller: Caller) -> UUID | None:
    found = (await database.call("public.list_help_requests", caller)).data()["help_requests"]
    free = [UUID(r["id"]) for r in found if r["status"] == "open" and not r["is_mine"] and r["conversation"] is None]
    return free[0] if free else None


def greeting(sample: Sample, url: str, folder: Path) -> str:
    """How to sign in as each role, and how to offer help from a shell; ends with a line break."""
    rows = [(f"{key}@{DOMAIN}", does) for key, does in _SHOWN]
    width = max(len(email) for email, _ in rows)
    lines = [
        f"{sample.community}: everybody signs in with the password {PASSWORD}",
        "(known to everybody, which is why the demo listens on this machine only)",
        "",
        *(f"  {email:<{width}}  {does}" for email, does in rows),
        "",
    ]
    if sample.request_id is not None:
        offer = f"{url}/api/messaging/help-requests/{sample.request_id}/start-conversation"
        lines += [
            f"An offer from a shell, as {_CALLER}:",
            f"  TOKEN=$(curl -s {url}/api/auth/sign-in -H 'Content-Type: application/json' \\",
            f'    -d \'{{"email": "{_CALLER}@{DOMAIN}", "password": "{PASSWORD}"}}\' \\',
            """    | python3 -c 'import json, sys; print(json.load(sys.stdin)["access_token"])')""",
            f"  curl -s {offer} \\",
            """    -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \\""",
            """    -d '{"initial_message": "I have an hour on Saturday and would be glad to help."}'""",
            "",
        ]
    lines += [
        "Offers made now open in V2, in one commit; MESSAGING_V2_ROLLOUT chooses. Some threads of the sample were",
        "opened in V1, the engine before it, in three commits, and one of its openings stopped half way: a",
        "conversation without a message, which its helper's next try completes. To find it, in another terminal:",
        f"  CARE_DATA_DIR={quote(str(folder))} care-collective doctor",
        "",
    ]
    return "\n".join(lines) + "\n"
