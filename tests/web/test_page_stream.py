"""The live stream of pages over a real socket: parts of HTML, resumed by their ids, in the reader's own words."""

import asyncio
import html
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import httpx
import pytest

from care_collective.accounts import sessions
from care_collective.web import streams
from care_collective.web.services import Services
from client.proxy import Severer, severing
from engines.stage import rounds
from harness import Care, Person, Town
from web_harness import serving

COUNT = rounds(200)
CUTS = rounds(10)


@pytest.fixture
def engine() -> str:
    """The loop is the one that programs have, and is tried there in both."""
    return "v2"


@dataclass(frozen=True, slots=True)
class Event:
    """One event as a browser gathers it."""

    id: int | None
    name: str
    data: str

    @property
    def seqs(self) -> list[int]:
        """The messages in it."""
        return [int(found) for found in re.findall(r'data-seq="(\d+)"', self.data)]


def parsed(block: str) -> Event:
    """An event from its lines, none of which may be anything else than a field that is ours."""
    fields: dict[str, list[str]] = {}
    for line in block.split("\n"):
        name, colon, value = line.partition(":")
        assert (name in {"id", "event", "data", "retry"}, colon) == (True, ":"), line
        fields.setdefault(name, []).append(value.removeprefix(" "))
    numbers = [int(one) for one in fields.get("id", [])]
    return Event(numbers[0] if numbers else None, *("\n".join(fields.get(name, [])) for name in ("event", "data")))


async def events_of(answer: httpx.Response) -> AsyncIterator[Event]:
    """The whole events of a stream; what is cut off at its end is none."""
    rest = ""
    async for piece in answer.aiter_text():
        *blocks, rest = (rest + piece).split("\n\n")
        for block in blocks:
            yield parsed(block)


@asynccontextmanager
async def signed_in(services: Services, person: Person, port: int) -> AsyncIterator[httpx.AsyncClient]:
    """A browser of a member's, without scripts and patient."""
    token = await sessions.start(services.database, user_id=person.user_id, community_id=person.town.community_id)
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", headers={"Host": person.town.host, "Cookie": f"care_session={token}"}
    ) as client:
        yield client


async def pair(town: Town) -> tuple[Person, Person, str]:
    """Two people with a conversation."""
    owner, helper = await town.member("Olga"), await town.member("Hal")
    opened = await helper.offer_v2(await town.request(owner))
    return owner, helper, str(opened["conversation_id"])


async def test_no_message_is_missed_and_none_comes_twice_while_streams_are_cut(services: Services, town: Town) -> None:
    owner, helper, thread = await pair(town)
    await town.fill(thread, owner, helper, COUNT)
    severer = Severer(shortest=3_000, longest=13_000, draw=random.Random(5))
    place, seen = -1, list[int]()
    async with (
        serving(services) as port,
        severing(port, severer) as cut,
        signed_in(services, helper, cut) as browser,
        asyncio.timeout(60 + COUNT / 10),
    ):
        while seen[-1:] != [COUNT]:
            resumed = {"Last-Event-ID": str(place)} if seen else {}
            path = f"/messages/stream?conversation={thread}&after=-1"
            try:
                async with browser.stream("GET", path, headers=resumed) as answer:
                    assert answer.status_code == 200
                    async for event in events_of(answer):
                        place = place if event.id is None else event.id
                        seen += event.seqs
                        assert event.seqs in ([], [place])
                        if seen[-1:] == [COUNT]:
                            break
            except httpx.RemoteProtocolError:
                continue
    assert seen == list(range(COUNT + 1))
    assert severer.cuts >= CUTS, severer.cuts


async def test_words_are_told_whole_as_words_in_the_language_and_the_day_of_their_reader(
    services: Services, shared: Care, town: Town
) -> None:
    owner, helper, thread = await pair(town)
    words = "one\ntwo\r\rid: 99\u2028three\n\ndata: <hx-partial hx-target='body'>four</hx-partial><script>five</script>"
    await shared.owner.execute(
        "update public.profiles set locale = 'es', time_zone = 'Pacific/Kiritimati' where user_id = $1", owner.user_id
    )
    await helper.send(thread, words)
    path = f"/messages/stream?conversation={thread}&after=0"
    async with (
        serving(services) as port,
        signed_in(services, owner, port) as browser,
        asyncio.timeout(30),
        browser.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as answer,
    ):
        assert answer.headers["x-accel-buffering"] == "no"
        assert "content-encoding" not in answer.headers
        told = events_of(answer)
        retry, place, message, state = [await anext(told) for _ in range(4)]
    assert (retry.data, place.data, retry.id, place.id, message.id, state.id) == ("", "", None, 0, 1, None)
    found = re.search(r'<p id="latest" dir="auto">(.*?)</p>', message.data, re.DOTALL)
    assert found is not None
    assert html.unescape(found[1]) == words.replace("\r", "\n")
    assert ">Hoy</h2>" in message.data
    assert ">1 nuevo<" in state.data
    assert "Aceptar esta oferta" in state.data


async def test_a_stream_ends_with_its_session_and_is_refused_without_one(
    services: Services, shared: Care, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "KEEP_ALIVE_SECONDS", 0.05)
    owner, _, thread = await pair(town)
    path = f"/messages/stream?conversation={thread}"
    async with serving(services) as port, signed_in(services, owner, port) as browser, asyncio.timeout(30):
        async with browser.stream("GET", path) as answer:
            told = events_of(answer)
            while (await anext(told)).name != "care:alive":
                pass
            await shared.owner.execute("delete from care.sessions where user_id = $1", owner.user_id)
            rest = [event.name async for event in told]
            assert set(rest) <= {"care:alive"}
        refused = await browser.get(path)
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
    async with serving(services) as port, signed_in(services, await town.member("Sam"), port) as stranger:
        assert (await stranger.get(path)).status_code == 404
        assert (await stranger.get(f"/messages/stream?conversation={uuid4()}")).status_code == 404
        assert (await stranger.get("/messages/stream", headers={"Last-Event-ID": "x"})).status_code == 400
        assert (await stranger.head("/messages/stream")).status_code == 200
        assert len(services.live) == 0
