"""kill -9 of the process that serves, under clients over HTTP: what was acknowledged is there once, and retries tell.

Its embedded PostgreSQL lives on as an orphan, which the next start stops. fsync is on.
"""

import asyncio
import json
import logging
import os
import random
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx

from care_collective.accounts import tokens
from care_collective.db.embedded.attach import running_server
from care_collective.rollout.policy import Stage, uses_v2
from cli.process import Serving, Shell
from engines.stage import rounds
from harness import free_port

SECRET = "a token secret for tests, 32 bytes or so"
WIDE = {
    "limits": {"conversations_per_hour": 1_000_000, "messages_per_minute": 1_000_000, "requests_per_day": 1_000_000}
}
PAIRS = 6
HALF = Stage.parse("percentage:50")
ASKED_AGAIN = 0.2  # of what was acknowledged
PATIENCE = 120.0  # seconds a client keeps trying; the aim is 5 on a machine that does nothing else
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Site:
    """`serve` as a process that is killed and started again. `starts`: seconds from each start to its greeting."""

    shell: Shell
    port: str = field(default_factory=lambda: str(free_port()))
    starts: list[float] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)
    _serving: Serving | None = None

    def start(self) -> None:
        """Returns once it says that it is ready."""
        began = monotonic()
        environ = {"CARE_JWT_SECRET": SECRET, "CARE_LOG": "error", "MESSAGING_V2_ROLLOUT": str(HALF)}
        self._serving = self._stack.enter_context(self.shell.serving("serve", "--port", self.port, **environ))
        self.starts.append(monotonic() - began)

    def kill(self) -> None:
        """SIGKILL to this process alone: its PostgreSQL runs on."""
        assert self._serving is not None
        postmaster = self.postmaster
        self._serving.process.kill()
        self._serving.process.wait()
        os.kill(postmaster, 0)
        self._stack.close()

    def stop(self) -> None:
        """Ends it in peace."""
        self._stack.close()

    @property
    def postmaster(self) -> int:
        """The process id of its PostgreSQL, by its pid file."""
        return int((self.shell.state / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0])

    async def owner(self) -> asyncpg.Connection:
        """Beside the running site, with the owner's rights."""
        server = running_server(self.shell.state / "postgres")
        assert server is not None
        return await asyncpg.connect(server.dsn(database="care"))


class Ledger:
    """What clients were told, by their words, and how often they had to ask."""

    def __init__(self, port: str) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self.dice = random.Random(3)
        self.told: dict[str, dict[str, str]] = {"help_request_id": {}, "conversation_id": {}, "message_id": {}}
        self.engines: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.last = monotonic()
        self.ended = asyncio.Event()

    @property
    def writes(self) -> int:
        """How many writes were acknowledged."""
        return sum(map(len, self.told.values()))

    async def post(self, member: httpx.AsyncClient, path: str, body: dict[str, Any], wanted: str, words: str) -> str:
        """Writes with one key until it is acknowledged, sometimes asks once more, and notes the id of what was made."""
        key, found = uuid4().hex, set[str]()
        for _ in range(1 if self.dice.random() >= ASKED_AGAIN else 2):
            answer = await self._answered(member, path, body, key)
            assert answer.status_code == 201, answer.text
            self.answers["replayed" if "idempotency-replayed" in answer.headers else "made"] += 1
            found.add(answer.json()[wanted])
            self.last = monotonic()
            if wanted == "conversation_id":
                self.engines[answer.json()["version"]] += 1
        (identity,) = found
        self.told[wanted][words] = identity
        return identity

    async def _answered(self, member: httpx.AsyncClient, path: str, body: dict[str, Any], key: str) -> httpx.Response:
        ends = monotonic() + PATIENCE
        while monotonic() < ends:
            try:
                answer = await member.post(path, json=body, headers={"Idempotency-Key": key})
            except httpx.TransportError as error:
                self.answers[type(error).__name__] += 1
            else:
                if answer.status_code != 503:
                    return answer
                self.answers["unavailable"] += 1
            await asyncio.sleep(0.02)
        raise AssertionError(f"not answered for {PATIENCE} s")

    async def pair(self, number: int, owner: str, helper: str) -> None:
        """Two people: one asks, the other offers, both write; until the test ends."""
        limits = httpx.Timeout(10)
        async with (
            httpx.AsyncClient(base_url=self.base, headers=_bearer(owner), timeout=limits, trust_env=False) as asks,
            httpx.AsyncClient(base_url=self.base, headers=_bearer(helper), timeout=limits, trust_env=False) as offers,
        ):
            thread = ""
            while not self.ended.is_set():
                words = f"Pair {number} writes {uuid4()}"
                if not thread or self.dice.random() < 0.2:
                    ask = {"title": words, "category": "other"}
                    request = await self.post(asks, "/api/requests", ask, "help_request_id", words)
                    path = f"/api/messaging/help-requests/{request}/start-conversation"
                    thread = await self.post(offers, path, {"initial_message": words}, "conversation_id", words)
                    continue
                path = f"/api/messaging/conversations/{thread}/messages"
                await self.post(self.dice.choice((asks, offers)), path, {"content": words}, "message_id", words)

    async def judge(self, owner: asyncpg.Connection) -> None:
        """Counts afterwards: nothing lost, nothing doubled, nothing that nobody was told of."""
        requests = await owner.fetch(
            "select r.title, r.id::text from public.help_requests r "
            "join public.communities c on c.id = r.community_id where not c.is_probe"
        )
        rows = await owner.fetch("select content, seq, conversation_id::text, id::text from care.thread_messages")
        assert sorted(map(tuple, requests)) == sorted(self.told["help_request_id"].items())
        first = sorted((row["content"], row["conversation_id"]) for row in rows if row["seq"] == 0)
        assert first == sorted(self.told["conversation_id"].items())
        more = sorted((row["content"], row["id"]) for row in rows if row["seq"] > 0)
        assert more == sorted(self.told["message_id"].items())
        assert await owner.fetchval("select count(*) from care.threads") == len(first)
        assert await owner.fetch("select * from care.violations()") == []


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def identity(*, in_v2: bool) -> UUID:
    """An id of somebody whose offers open in V2, or in V1: of random ones all may fall on one side."""
    return next(one for one in iter(uuid4, None) if uses_v2(HALF, one, in_cohort=False) is in_v2)


async def peopled(owner: asyncpg.Connection) -> list[tuple[str, str]]:
    """Makes a community with limits that nobody reaches; the bearer tokens of its pairs of members."""
    community = await owner.fetchval(
        "insert into public.communities (slug, name, settings) values ('row', 'Linden Row', $1) returning id",
        json.dumps(WIDE),
    )
    made: list[str] = []
    for number in range(2 * PAIRS):
        user_id = identity(in_v2=number % 4 == 1)  # of the helpers, who are every second one
        await owner.execute("insert into care.users (id, email) values ($1, $2)", user_id, f"m{number}@example.org")
        await owner.execute(
            "insert into public.profiles (community_id, user_id, display_name, verification_status) "
            "values ($1, $2, $3, 'approved')",
            community,
            user_id,
            f"Member {number}",
        )
        now = datetime.now(UTC)
        made.append(tokens.issue(SECRET, user_id=user_id, community_id=UUID(str(community)), now=now))
    return list(zip(made[::2], made[1::2], strict=True))


async def progress(ledger: Ledger, writes: int) -> None:
    """Returns when the clients have been told of this many further writes, a moment later."""
    aim, ends = ledger.writes + writes, monotonic() + PATIENCE
    while ledger.writes < aim:
        assert monotonic() < ends, f"no {writes} writes in {PATIENCE} s"
        await asyncio.sleep(0.002)


async def test_what_was_acknowledged_survives_the_death_of_the_site(state_folder: Path) -> None:
    site = Site(Shell(state_folder / "killed-site"))
    dark: list[float] = []
    await asyncio.to_thread(site.start)
    try:
        owner = await site.owner()
        ledger = Ledger(site.port)
        pairs = await peopled(owner)
        await owner.close()
        async with asyncio.TaskGroup() as clients:
            for number, pair in enumerate(pairs):
                clients.create_task(ledger.pair(number, *pair))
            for _ in range(rounds(2)):
                await progress(ledger, ledger.dice.randint(30, 60))
                orphan = site.postmaster
                await asyncio.to_thread(site.kill)
                began = monotonic()
                await asyncio.to_thread(site.start)
                assert site.postmaster != orphan
                ready = monotonic()
                while ledger.last < ready:
                    assert monotonic() < began + PATIENCE
                    await asyncio.sleep(0.002)
                dark.append(ledger.last - began)
            await progress(ledger, 60)
            ledger.ended.set()
        owner = await site.owner()
        await ledger.judge(owner)
        await owner.close()
    finally:
        await asyncio.to_thread(site.stop)
    facts = ledger.writes, len(dark), sorted(dark)[len(dark) // 2], max(dark), dict(ledger.answers), ledger.engines
    log.info("%s acknowledged, %s kills, answering after %.2f s (median) and %.2f s (at most), %s, %s", *facts)
    assert ledger.engines.keys() == {"v1", "v2"}
    assert ledger.answers["replayed"] > 0
    assert set(ledger.answers) & {"ReadError", "RemoteProtocolError", "ConnectError"}
