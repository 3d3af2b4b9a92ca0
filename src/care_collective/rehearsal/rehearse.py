"""The rehearsal itself: fault → detection → last node switched, and whether every acknowledged word is still there."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_urlsafe
from typing import Any, Final, Literal

import asyncpg
import httpx
import msgspec

from care_collective.accounts import tokens
from care_collective.bench.report import failure
from care_collective.bench.stand import COMMUNITY_ID, HELPER, OWNER, Tell, database, identity, served, stand
from care_collective.db.call import Database
from care_collective.db.pool import make_pool
from care_collective.operations import doctor
from care_collective.rehearsal.faults import FAULTS, SQL, Fault, broken
from care_collective.rehearsal.members import HELPERS, OWNERS, REQUESTS, Members
from care_collective.rollout import switch
from care_collective.rollout.policy import MESSAGING_V2

_NAME: Final = "care"
_TOKEN_SECONDS: Final = 3600
_CALM_SECONDS: Final = 1.5
_AFTER_SECONDS: Final = 1.5
# The probe needs three failures running, 10 seconds apart; detection is late past this.
_DETECTION_SECONDS: Final = 60.0
_SOUND_SECONDS: Final = 20.0
_PATIENCE_SECONDS: Final = 30.0  # with nodes and members of a machine that does much else
_LOOK_SECONDS: Final = 0.05


class Found(msgspec.Struct, frozen=True):
    """What the guard did: which change, by which rule, in its words; how long after the fault, in seconds."""

    action: Literal["trip", "warn"]
    rule: str
    words: str
    numbers: dict[str, Any]
    seconds: float


class Outcome(msgspec.Struct, frozen=True):
    """One fault from beginning to end.

    `attempts` are members' offers in V2 from the fault to its detection, of which `failed` did. `tried_again` are all
    that failed, once it was over, and `well_then` those of them that opened. `opened_after` says by engine how offers
    ended when every node had switched. `missing` was acknowledged and is not shown. `well`: detected as expected,
    switched everywhere, nothing missing, no violation left, no message refused.
    """

    fault: str
    words: str
    expected: Literal["trip", "warn"]
    detected: Found | None
    attempts: int
    failed: int
    nodes: list[switch.Reach]
    opened_after: dict[str, int]
    tried_again: int
    well_then: int
    conversations: int
    messages: int
    failed_sends: int
    missing: list[str]
    violations: list[doctor.Violation]
    well: bool = False

    @property
    def switched_seconds(self) -> float | None:
        """Seconds from the rollback to the last node's having it in force; None where one has not, or none was due."""
        seconds = [node.seconds for node in self.nodes]
        return None if not seconds or None in seconds else max(one for one in seconds if one is not None)


@dataclass(frozen=True, slots=True)
class Site:
    """The scratch deployment: `owner` runs commands, `admin` and `killer` break it."""

    owner: Database
    admin: asyncpg.Connection
    killer: asyncpg.Connection
    members: Members
    nodes: Sequence[str]


async def rehearse(names: Sequence[str], *, seed: int, nodes: int = 3, tell: Tell) -> list[Outcome]:
    """Every named fault, one after another on one scratch deployment with so many serving processes."""
    async with scratch_site(seed, nodes, tell) as site:
        tell("Opening conversations in V1")
        await _talk_for(site.members, _CALM_SECONDS)
        return [await rehearse_one(site, name, tell) for name in names]


@asynccontextmanager
async def scratch_site(seed: int, nodes: int, tell: Tell) -> AsyncIterator[Site]:
    """A scratch deployment with so many serving processes and members, V2 off, for as long as the block runs."""
    async with AsyncExitStack() as stack:
        on = await stack.enter_async_context(stand(tell=tell, purpose="rehearsal"))
        made = database(on, _NAME, members=HELPERS, requests=REQUESTS, owners=OWNERS)
        admin = await stack.enter_async_context(made)
        await admin.execute((SQL / "faults.sql").read_text("utf-8"))
        killer = await asyncpg.connect(on.url("postgres", _NAME))
        stack.push_async_callback(killer.close)
        pool = await make_pool(on.url("postgres", _NAME), become="care_owner", size=2)
        stack.callback(pool.terminate)
        secret = token_urlsafe(48)
        environment = {
            "DATABASE_URL": on.url("care_app", _NAME),
            "DATABASE_OWNER_URL": on.url("postgres", _NAME),
            "CARE_SECRET_KEY": token_urlsafe(48),
            "CARE_JWT_SECRET": secret,
        }
        tell(f"Starting {nodes} nodes")
        starting = (served(on.folder / f"node-{number}", environment) for number in range(1, nodes + 1))
        started = await asyncio.gather(*(stack.enter_async_context(one) for one in starting))
        urls = [f"http://{host}:{port}" for _, host, port in started]
        limits = httpx.Limits(max_connections=4 * HELPERS)
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=15, limits=limits))
        people = [identity(HELPER, n) for n in range(1, HELPERS + 1)] + [
            identity(OWNER, n) for n in range(1, OWNERS + 1)
        ]
        issued = {
            one: tokens.issue(
                secret,
                user_id=one,
                community_id=COMMUNITY_ID,
                now=datetime.now(UTC),
                lifetime_seconds=_TOKEN_SECONDS,
            )
            for one in people
        }
        chance = random.Random(seed)  # noqa: S311  who offers when is no secret
        yield Site(Database(pool), admin, killer, Members(urls, issued, http, chance), urls)


async def rehearse_one(site: Site, name: str, tell: Tell) -> Outcome:
    """One fault: V2 on for all, broken, mended. Errors: CareError where the scratch deployment itself does not work."""
    fault, members, loop = FAULTS[name], site.members, asyncio.get_running_loop()
    await _forward(site)
    tell(f"{name}: members talk, and V2 is sound")
    before = len(members.offers)
    await _talk_for(members, _CALM_SECONDS)
    if not any(offer.answer == "v2" for offer in members.offers[before:]):
        raise failure("The rehearsal opened nothing in V2 before the fault.")
    nodes: list[switch.Reach] = []
    talking = asyncio.create_task(members.talk())
    try:
        before = len(members.offers)
        began = await site.admin.fetchval("select clock_timestamp()")
        async with broken(site.admin, site.killer, fault):
            tell(f"{name}: {fault.words}; waiting for the guard")
            change = await _change(site, fault, began)
            during = members.offers[before:]
            if change is not None and change["action"] == "trip":
                tell(f"{name}: rolled back; waiting for the nodes")
                nodes = await switch.reach(
                    site.owner, generation=change["generation"], since=change["at"], wait_seconds=_PATIENCE_SECONDS
                )
            switched = loop.time()
            await asyncio.sleep(_AFTER_SECONDS)
            await _offered_since(members, switched)
    finally:
        await _end(talking)
    tell(f"{name}: looking for every acknowledged word")
    failed = [offer for offer in members.offers[before:] if offer.answer == "failed"]
    after = [offer.answer for offer in members.offers if offer.at >= switched]
    outcome = Outcome(
        fault=name,
        words=fault.words,
        expected=fault.expected,
        detected=None if change is None else _found(change, began),
        attempts=sum(offer.answer != "v1" for offer in during),
        failed=sum(offer.answer == "failed" for offer in during),
        nodes=nodes,
        opened_after=dict(Counter(after)),
        tried_again=len(failed),
        well_then=await members.again(failed),
        conversations=len(members.threads),
        messages=sum(1 + len(thread.words) for thread in members.threads),
        failed_sends=members.failed_sends,
        missing=await members.missing(),
        violations=await doctor.examine(site.owner),
    )
    return msgspec.structs.replace(outcome, well=_well(outcome))


def _well(seen: Outcome) -> bool:
    """Whether it went as the rules want it: found, switched on every node, and nothing lost, hidden or refused."""
    engine = "v1" if seen.expected == "trip" else "v2"
    return (
        seen.detected is not None
        and (seen.expected == "warn" or seen.switched_seconds is not None)
        and set(seen.opened_after) == {engine}
        and seen.well_then == seen.tried_again
        and not (seen.failed_sends or seen.missing or seen.violations)
    )


async def _forward(site: Site) -> None:
    """Has V2 on for all, on every node, wherever the last fault left it."""
    async with asyncio.timeout(_SOUND_SECONDS):  # what was mended is looked at again before it counts as mended
        while await site.admin.fetchval("select sum(c.found) from care.rollout_checks c"):  # noqa: ASYNC110  another process's
            await asyncio.sleep(_LOOK_SECONDS)
    await site.admin.execute(
        "delete from care.rollout_episodes"
    )  # a warning is told once an episode: each fault is one
    stopped = await site.admin.fetchval("select f.stopped from care.rollout_flags f where f.name = $1", MESSAGING_V2)
    stage = await site.admin.fetchval("select f.stage from care.rollout_flags f where f.name = $1", MESSAGING_V2)
    if stopped is None and stage == "on":
        return
    action = "set" if stopped is None else "resume"
    arguments = {"flag": MESSAGING_V2, "stage": "on", "reason": "A rehearsal"}
    answer = await switch.command(site.owner, action, arguments, by=None, login="rehearsal")
    made = answer.data()
    since = datetime.fromisoformat(made["at"])
    nodes = await switch.reach(site.owner, generation=made["generation"], since=since, wait_seconds=_PATIENCE_SECONDS)
    if any(node.seconds is None for node in nodes):
        raise failure("A node of the rehearsal is silent.")


async def _talk_for(members: Members, seconds: float) -> None:
    began, talking = asyncio.get_running_loop().time(), asyncio.create_task(members.talk())
    await asyncio.sleep(seconds)
    await _offered_since(members, began)
    await _end(talking)


async def _offered_since(members: Members, moment: float) -> None:
    """Returns once somebody has offered since then: at once, but on a machine that does much else."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not any(offer.at >= moment for offer in reversed(members.offers)):  # noqa: ASYNC110  a list has no event
                await asyncio.sleep(_LOOK_SECONDS)


async def _end(talking: asyncio.Task[None]) -> None:
    """Ends the talk. Errors: what ended it before."""
    talking.cancel()
    with suppress(asyncio.CancelledError):
        await talking


async def _change(site: Site, fault: Fault, began: datetime) -> asyncpg.Record | None:
    """What the guard did after the fault began, or None in a minute without anything."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_DETECTION_SECONDS):
            while True:
                # A rollback where only a warning is due is an answer too: a wrong one.
                change = await site.admin.fetchrow(
                    "select c.* from care.rollout_changes c where c.at > $1 and c.action in ('trip', $2) order by c.at",
                    began,
                    fault.expected,
                )
                if change is not None:
                    return change
                await asyncio.sleep(_LOOK_SECONDS)
    return None


def _found(change: asyncpg.Record, began: datetime) -> Found:
    numbers = json.loads(change["numbers"] or "{}")
    seconds = round((change["at"] - began).total_seconds(), 3)
    return Found(change["action"], change["why"], change["words"], numbers, seconds)
