"""What was acknowledged is there, once: PostgreSQL killed, backends killed, answers cut. fsync is on."""

import asyncio
import logging
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from time import monotonic
from uuid import UUID, uuid4

import asyncpg
import pytest
import structlog

from care_collective.db.embedded import Server, running
from care_collective.errors import Code
from care_collective.messaging.models import Result
from care_collective.messaging.service import Messaging
from engines.stage import held, rounds
from harness import Care, Person, Postgres, Town, care

WIDE = {"conversations_per_hour": 1_000_000, "messages_per_minute": 1_000_000}
log = logging.getLogger(__name__)
CLIENTS = 12
CUT = 0.3  # of all answers
PATIENCE = 120.0  # seconds a client keeps trying


class Mortal:
    """A durable server that a test kills and starts again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = AsyncExitStack()
        self.server: Server
        self.starts: list[float] = []

    async def start(self) -> None:
        """Starts it, or starts it again; notes the seconds until it answered."""
        began = monotonic()
        self.server = await self._stack.enter_async_context(running(self._folder, options={"max_connections": "60"}))
        self.starts.append(monotonic() - began)

    async def stop(self) -> None:
        """Leaves it."""
        await self._stack.aclose()

    async def kill(self) -> None:
        """kill -9 of the postmaster, as a machine that loses its power does, and the next start."""
        os.kill(self.server.pid, signal.SIGKILL)
        await self.stop()
        await self.start()


class Ledger:
    """What clients did and were told. A client keeps trying with its key until it is told success."""

    def __init__(self, town: Town, dice: random.Random) -> None:
        self.town = town
        self.dice = dice
        self.opened: dict[str, UUID] = {}  # by the words of the first message
        self.sent: dict[str, UUID] = {}  # by the words
        self.told: Counter[str] = Counter()
        self.ended = asyncio.Event()

    async def acknowledged(self, call: Callable[[str], Awaitable[Result]]) -> Result:
        """Makes a call until it succeeds, always with one key. Of the answers some are cut and asked for again."""
        key, ends = uuid4().hex, monotonic() + PATIENCE
        cut: Result | None = None
        while True:
            result = await call(key)
            self.told[str(result.error or ("replayed" if result.replayed else "success"))] += 1
            if result.success and (cut is not None or self.dice.random() >= CUT):
                assert cut is None or (result.replayed, result.conversation_id, result.message_id) == (
                    True,
                    cut.conversation_id,
                    cut.message_id,
                )
                return result
            if result.success:
                cut = result
            else:
                assert result.error == Code.UNAVAILABLE, result
                assert monotonic() < ends, f"not answered for {PATIENCE} s"
                await asyncio.sleep(0.1)

    async def pair(self, number: int) -> tuple[Person, Person, list[UUID]]:
        """A requester, a helper and what the helper may offer help on."""
        owner, helper = await self.town.member(f"Olga{number}"), await self.town.member(f"Hal{number}")
        return owner, helper, [await self.town.request(owner) for _ in range(rounds(10))]

    async def client(self, number: int, owner: Person, helper: Person, requests: list[UUID]) -> None:
        """Two people who open conversations in both engines and write into them, until the test ends."""
        facades = [held(self.town.care, stage) for stage in ("off", "on")]
        threads: list[UUID] = []
        while not self.ended.is_set():
            words = f"Client {number} writes {uuid4()}"
            if requests and (not threads or self.dice.random() < 0.1):
                request, facade = requests.pop(), self.dice.choice(facades)

                async def offer(
                    key: str, request: UUID = request, words: str = words, facade: Messaging = facade
                ) -> Result:
                    return await facade.start_help_conversation(helper.caller(key), request, words)

                opened = await self.acknowledged(offer)
                assert opened.conversation_id is not None
                self.opened[words] = opened.conversation_id
                threads.append(opened.conversation_id)
                continue
            thread, person = self.dice.choice(threads), self.dice.choice((owner, helper))

            async def send(key: str, thread: UUID = thread, words: str = words, person: Person = person) -> Result:
                return await facades[0].send_message(person.caller(key), thread, words)

            sent = await self.acknowledged(send)
            assert sent.message_id is not None
            self.sent[words] = sent.message_id

    async def judge(self) -> None:
        """Counts afterwards: nothing lost, nothing doubled, nothing that nobody was told of."""
        rows = await self.town.care.owner.fetch("select conversation_id, id, seq, content from care.thread_messages")
        stored = Counter(row["content"] for row in rows)
        told = self.opened.keys() | self.sent.keys()
        assert {words: count for words, count in stored.items() if count > 1} == {}, "doubled"
        assert told - stored.keys() == set(), "lost"
        assert stored.keys() - told == set(), "written and never told"
        first = {row["content"]: row["conversation_id"] for row in rows if row["seq"] == 0}
        assert first == self.opened
        assert {row["content"]: row["id"] for row in rows if row["seq"] > 0} == self.sent
        assert await self.town.care.violations() == []
        assert await self.town.count("care.outbox") == len(told)


@pytest.fixture(scope="module")
async def mortal(disk_folder: Path) -> AsyncIterator[tuple[Mortal, Postgres]]:
    """A server with fsync, its template made; on a disk, so that commits take long enough to be struck."""
    server = Mortal(disk_folder / f"mortal-{os.getpid()}")
    await server.start()
    postgres = Postgres(server.server)
    await postgres.make_template()
    yield server, postgres
    await server.stop()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """A line an attempt is too much here."""
    structlog.configure(processors=[_drop])
    yield
    structlog.reset_defaults()


async def endure(postgres: Postgres, strike: Callable[[Care], Awaitable[None]], times: int) -> Ledger:
    """Lets clients work while the server is struck; answers the ledger, judged."""
    name = await postgres.create()
    async with care(postgres, name, size=CLIENTS + 2) as opened:
        assert await opened.owner.fetchval("show fsync") == "on"
        ledger = Ledger(await opened.town(limits=WIDE), random.Random(1))
        pairs = [await ledger.pair(number) for number in range(CLIENTS)]
        async with asyncio.TaskGroup() as clients:
            for number, pair in enumerate(pairs):
                clients.create_task(ledger.client(number, *pair))
            for _ in range(times):
                await progress(ledger, 2 * CLIENTS)
                await strike(opened)
            await progress(ledger, 2 * CLIENTS)
            ledger.ended.set()
        await ledger.judge()
    log.info("%s acknowledged writes, %s strikes, %s", len(ledger.opened) + len(ledger.sent), times, ledger.told)
    return ledger


async def progress(ledger: Ledger, writes: int) -> None:
    """Returns when the clients have been told of this many further writes."""
    aim, ends = len(ledger.opened) + len(ledger.sent) + writes, monotonic() + PATIENCE
    while len(ledger.opened) + len(ledger.sent) < aim:
        assert monotonic() < ends, f"no {writes} writes in {PATIENCE} s"
        await asyncio.sleep(0.01)


def _drop(logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    raise structlog.DropEvent


async def test_what_was_acknowledged_survives_the_death_of_the_server(mortal: tuple[Mortal, Postgres]) -> None:
    server, postgres = mortal

    async def strike(opened: Care) -> None:
        await server.kill()

    ledger = await endure(postgres, strike, rounds(4))
    assert ledger.told["unavailable"] > 0
    assert ledger.told["replayed"] > 0
    log.info("answers again after at most %.2f s", max(server.starts[1:]))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
async def test_what_was_acknowledged_survives_the_death_of_backends(
    mortal: tuple[Mortal, Postgres], number: signal.Signals
) -> None:
    """SIGTERM ends one backend; SIGKILL of one makes the server end all of them and recover."""
    _, postgres = mortal
    dice = random.Random(2)

    async def strike(opened: Care) -> None:
        ends = monotonic() + PATIENCE
        while monotonic() < ends:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
                rows = await opened.owner.fetch(
                    "select pid from pg_stat_activity where datname = current_database() and usename = 'care_app' "
                    "and backend_type = 'client backend' order by state = 'active' desc, pid limit 4"
                )
                if rows:
                    os.kill(dice.choice(rows)["pid"], number)
                    return
            await asyncio.sleep(0.01)  # the server recovers from the strike before

    ledger = await endure(postgres, strike, rounds(25 if number is signal.SIGTERM else 5))
    assert ledger.told["replayed"] > 0
