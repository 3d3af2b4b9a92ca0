"""Members of a rehearsal: they offer and write over HTTP, and remember every word that the site acknowledged."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal
from uuid import UUID

import httpx

from care_collective.bench.stand import HELPER, OWNER, REQUEST, identity
from care_collective.client import CareClient, CareClientError

HELPERS: Final = 4
OWNERS: Final = 4
REQUESTS: Final = 4000
_PAUSE_SECONDS: Final = 0.7

Answer = Literal["v1", "v2", "failed"]


@dataclass(slots=True)
class Thread:
    """A conversation that the site acknowledged, and the words of it that it acknowledged, by their message's id."""

    id: UUID
    version: str
    helper: UUID
    owner: UUID
    first: str
    words: dict[UUID, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Offer:
    """One try to offer help: when, by the loop's clock, and how it ended."""

    at: float
    helper: int
    place: int
    answer: Answer


@dataclass(slots=True)
class Members:
    """All of them. `tokens` are access tokens by member; each call goes to one of the nodes, as behind a balancer."""

    nodes: Sequence[str]
    tokens: dict[UUID, str]
    http: httpx.AsyncClient
    chance: random.Random
    threads: list[Thread] = field(default_factory=list)
    offers: list[Offer] = field(default_factory=list)
    failed_sends: int = 0
    _place: int = 0

    def client(self, user_id: UUID) -> CareClient:
        """A member at one of the nodes, who tries each call once."""
        return CareClient(self.chance.choice(self.nodes), token=self.tokens[user_id], http=self.http, attempts=1)

    async def talk(self) -> None:
        """Every helper offers and writes, one thing after another, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for helper in range(1, HELPERS + 1):
                tasks.create_task(self._talk(helper))

    async def _talk(self, helper: int) -> None:
        while self._place < REQUESTS:
            await self.offer(helper)
            if self.threads:  # whatever becomes of offers, what has been opened goes on, in both engines
                await self.write(self.chance.choice(self.threads))
            await asyncio.sleep(self.chance.uniform(0.5, 1.5) * _PAUSE_SECONDS)

    async def offer(self, helper: int) -> None:
        """Offers help on a request that nobody has offered on."""
        self._place += 1
        await self._offer(helper, self._place)

    async def again(self, failed: Sequence[Offer]) -> int:
        """Each helper whose offer failed tries once more, with the same key; how many are well then."""
        before = len(self.threads)
        for start in range(0, len(failed), HELPERS):
            await asyncio.gather(*(self._offer(one.helper, one.place) for one in failed[start : start + HELPERS]))
        return len(self.threads) - before

    async def _offer(self, helper: int, place: int) -> None:
        who, owner = identity(HELPER, helper), identity(OWNER, 1 + place % OWNERS)
        words = f"Hello, I am helper {helper} and can help with number {place}."
        began = asyncio.get_running_loop().time()
        try:
            started = await self.client(who).messaging.start_conversation(
                identity(REQUEST, place), words, key=f"offer-{place}"
            )
        except CareClientError:
            self.offers.append(Offer(began, helper, place, "failed"))
            return
        self.offers.append(Offer(began, helper, place, "v2" if started.version == "v2" else "v1"))
        self.threads.append(Thread(started.conversation_id, started.version, who, owner, words))

    async def write(self, thread: Thread) -> None:
        """One of the two writes something that nobody else has written."""
        words = f"Number {self.chance.getrandbits(60)} is what I say."
        who = self.chance.choice((thread.helper, thread.owner))
        try:
            sent = await self.client(who).messaging.send_message(thread.id, words)
        except CareClientError:
            self.failed_sends += 1
        else:
            thread.words[sent.message_id] = words

    async def missing(self) -> list[str]:
        """What the site acknowledged and does not show to both: one line each, ids only."""
        found = []
        for user_id in self.tokens:
            listed = {one.id async for one in self.client(user_id).messaging.each_conversation()}
            mine = (thread for thread in self.threads if user_id in (thread.helper, thread.owner))
            found += [f"conversation {one.id} in the inbox of {user_id}" for one in mine if one.id not in listed]
        gate = asyncio.Semaphore(HELPERS)
        for lines in await asyncio.gather(*(self._unshown(thread, gate) for thread in self.threads)):
            found += lines
        return found

    async def _unshown(self, thread: Thread, gate: asyncio.Semaphore) -> list[str]:
        found = []
        for user_id in (thread.helper, thread.owner):
            async with gate:
                try:
                    shown = [one async for one in self.client(user_id).messaging.each_message(thread.id)]
                except CareClientError as error:
                    found.append(f"conversation {thread.id} for {user_id}: {error.code}")
                    continue
            texts = {one.id: one.content for one in shown}
            found += [f"message {one}" for one, words in thread.words.items() if texts.get(one) != words]
            if not shown or shown[0].content != thread.first:
                found.append(f"first message of conversation {thread.id}")
        return found
