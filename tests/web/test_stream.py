"""The live stream over a real socket: what comes, from where it goes on, whom it is for, and how it ends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from care_collective.db.call import Answer
from care_collective.errors import CareError, Code
from care_collective.messaging.service import Messaging
from care_collective.notifications.live import Hub
from care_collective.web import streams
from care_collective.web.server import SHUTDOWN_SECONDS
from care_collective.web.services import Services, utc_now
from harness import Care, Person
from live_harness import Feed, feeding
from web.calls import Stage, refused, staged
from web_harness import MakeClient, bearer, browser, fresh_email, joined, of, services_for, serving

STREAM = "/api/messaging/stream"
Opened = Callable[..., Any]


@pytest.fixture
async def stage(town: Any, client: MakeClient) -> Stage:  # noqa: ANN401  a Town
    """An offer made in the engine under test."""
    return await staged(town, client)


@asynccontextmanager
async def node(services: Services, stage: Stage) -> AsyncIterator[Callable[[Person], httpx.AsyncClient]]:
    """A served node, and clients of it."""
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(serving(services))
        async with asyncio.timeout(30):
            while not services.listener.connected:  # noqa: ASYNC110  a property has no event
                await asyncio.sleep(0)

        def make(person: Person) -> httpx.AsyncClient:
            headers = {"Host": stage.town.host, **bearer(person)}
            made = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers)
            stack.push_async_callback(made.aclose)
            return made

        yield make


async def say(client: httpx.AsyncClient, stage: Stage, words: str) -> None:
    """Writes a message, which has to succeed."""
    answer = await client.post(of(stage.conversation), json={"content": words})
    assert answer.status_code == 201, answer.text


async def test_messages_come_once_in_order_as_get_messages_shows_them_and_go_on_from_their_ids(
    services: Services, stage: Stage
) -> None:
    async with node(services, stage) as make:
        owner, helper = make(stage.owner), make(stage.helper)
        path = f"{STREAM}?conversation={stage.conversation}"
        async with feeding(helper, path) as feed, feeding(owner, f"{path}&after=-1") as whole:
            assert (feed.seqs, feed.ids) == ([], [0])  # from now on, with a place to come back to
            assert 1000 <= (feed.retry or 0) <= 3000
            assert whole.seqs == [0]
            for number in range(1, 4):
                await say(owner, stage, f"Line {number}\nand more")
            await feed.until(lambda: len(feed.messages) == 3)
            await whole.until(lambda: len(whole.messages) == 4)
            shown = (await owner.get(of(stage.conversation))).json()["messages"]
            assert whole.messages == shown
            assert feed.messages == shown[1:]
        await say(owner, stage, "Line 4")
        for place, header, expected in (
            ("", {"Last-Event-ID": "2"}, [3, 4]),
            ("&after=0", {"Last-Event-ID": "3"}, [4]),
            ("&after=1", {}, [2, 3, 4]),
            ("&after=1", {"Last-Event-ID": ""}, [2, 3, 4]),
            ("&after=2", {"Last-Event-ID": "-1"}, [0, 1, 2, 3, 4]),
            ("&after=77", {}, []),
        ):
            async with feeding(helper, path + place, headers=header) as again:
                await again.until(lambda again=again, expected=expected: len(again.messages) >= len(expected))
                assert again.seqs == expected, (place, header)
                if not expected:
                    # A place that nobody has written yet misses nothing that will be.
                    await say(owner, stage, "Line 5")
                    await again.until(lambda again=again: again.seqs == [5])


async def test_more_than_a_page_of_messages_comes_whole(services: Services, stage: Stage) -> None:
    await stage.town.fill(stage.conversation, stage.owner, stage.helper, 250)
    path = f"{STREAM}?conversation={stage.conversation}&after=-1"
    async with node(services, stage) as make, feeding(make(stage.helper), path) as feed:
        await feed.until(lambda: len(feed.messages) == 251)
        assert feed.seqs == list(range(251))


async def test_an_inbox_is_told_of_offers_messages_marks_decisions_and_requests(
    services: Services, stage: Stage
) -> None:
    async with node(services, stage) as make:
        owner, helper = make(stage.owner), make(stage.helper)
        async with feeding(owner, STREAM) as mine, feeding(helper, STREAM) as theirs:
            shown = (await owner.get("/api/messaging/conversations")).json()["conversations"]
            assert mine.states[0] == {
                "unread": {"conversations": 1, "messages": 1, "notifications": 1}, "conversations": shown,
            }  # fmt: skip
            assert theirs.unread == {"conversations": 0, "messages": 0, "notifications": 0}

            def row(feed: Feed) -> dict[str, Any]:
                found: dict[str, Any] = feed.states[-1]["conversations"][-1]
                return found

            await say(helper, stage, "Are you in?")
            await mine.until(lambda: mine.unread["messages"] == 2)
            await theirs.until(lambda: row(theirs)["last_seq"] == 1)
            await owner.post(of(stage.conversation, "read"), json={"seq": 1})
            await mine.until(lambda: mine.unread == {"conversations": 0, "messages": 0, "notifications": 0})
            await theirs.until(lambda: row(theirs)["other_last_read_seq"] == 1)
            decision = {"conversation_id": stage.conversation}
            await owner.post("/api/messaging/accept-offer", json=decision)
            await theirs.until(lambda: row(theirs)["help_request"]["accepted"])
            await owner.post(f"/api/requests/{stage.request}/complete")
            await theirs.until(lambda: row(theirs)["help_request"]["status"] == "completed")
            assert theirs.unread["notifications"] == 2
            await helper.post(of(stage.conversation, "close"))
            await mine.until(lambda: row(mine)["status"] == "closed")
            opened = await helper.post(
                f"/api/messaging/help-requests/{stage.fresh}/start-conversation",
                json={"initial_message": "And a ride on Monday?"},
            )
            await mine.until(lambda: row(mine)["id"] == opened.json()["conversation_id"])
            assert mine.messages == []
            assert mine.ids == []


async def test_a_stranger_hears_nothing(services: Services, stage: Stage) -> None:
    async with node(services, stage) as make:
        owner, stranger = make(stage.owner), make(stage.stranger)
        async with feeding(stranger, STREAM) as feed, feeding(owner, STREAM) as mine:
            await say(make(stage.helper), stage, "Only for Olga")
            await mine.until(lambda: mine.unread["messages"] == 2)
            assert len(feed.states) == 1
            assert feed.comments == 0  # it was not even woken
        path = f"{STREAM}?conversation={stage.conversation}"
        refused(await stranger.get(path), "foreign", 404, "not_found")
        refused(await owner.get(f"{STREAM}?conversation={uuid4()}"), "absent", 404, "not_found")


async def test_what_is_wrong_is_refused_before_a_stream_begins(services: Services, stage: Stage) -> None:
    path = f"{STREAM}?conversation={stage.conversation}"
    async with node(services, stage) as make:
        owner = make(stage.owner)
        for bad in ("x", "1.0", "-2", "--1", "+1", "1 2", "²", "2147483648", "9" * 400, "-"):
            answer = await owner.get(path, headers=[(b"Last-Event-ID", bad.encode("latin-1"))])
            assert "Last-Event-ID" in refused(answer, bad)["fields"]
        for query in ("conversation=x", f"conversation={stage.conversation}&after=x", "after=-2", "after=1&after=2"):
            refused(await owner.get(f"{STREAM}?{query}"), query)
        head = await owner.head(path)
        assert (head.status_code, head.content) == (200, b"")
        nobody = await owner.get(path, headers={"Authorization": "Bearer nonsense"})
        refused(nobody, "nobody", 401, "unauthenticated")
        assert len(services.live) == 0


async def test_a_stream_ends_with_the_ban_the_account_the_token_or_the_session_of_its_reader(
    services: Services, stage: Stage, shared: Care, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "KEEP_ALIVE_SECONDS", 0.02)
    now = utc_now()
    object.__setattr__(services, "now", lambda: now)
    async with node(services, stage) as make:
        owner, helper, stranger = make(stage.owner), make(stage.helper), make(stage.stranger)
        async with (
            browser(services, stage.town) as signed_in,
            feeding(owner, STREAM) as banned,
            feeding(helper, f"{STREAM}?conversation={stage.conversation}") as deleted,
            feeding(stranger, STREAM) as expired,
        ):
            email = fresh_email()
            await joined(signed_in, email)
            cookies = {"Cookie": "; ".join(f"{c.name}={c.value}" for c in signed_in.cookies.jar)}
            bare = httpx.AsyncClient(base_url=owner.base_url, headers={"Host": stage.town.host, **cookies})
            async with bare, feeding(bare, STREAM) as left:
                await banned.until(lambda: banned.comments > 2)
                assert (banned.ended, left.ended) == (False, False)
                await stage.town.restrict(stage.owner, "banned")
                await banned.until(lambda: banned.ended)
                await shared.owner.execute(
                    "update public.profiles set deleted_at = now() where user_id = $1", stage.helper.user_id
                )
                await deleted.until(lambda: deleted.ended)
                csrf = (await signed_in.get("/api/auth/me")).json()["csrf_token"]
                assert not left.ended
                await signed_in.post("/api/auth/sign-out", headers={"X-CSRF-Token": csrf})
                await left.until(lambda: left.ended)
            assert not expired.ended
            now += timedelta(hours=25)
            await expired.until(lambda: expired.ended)
        assert len(services.live) == 0


async def test_after_a_lost_listener_every_stream_reads_what_it_was_not_told(
    services: Services, stage: Stage, shared: Care
) -> None:
    async with node(services, stage) as make:
        owner, helper = make(stage.owner), make(stage.helper)
        async with feeding(helper, f"{STREAM}?conversation={stage.conversation}") as feed:
            for number in range(1, 4):
                await kill_listeners(shared)
                # Published while nobody listens: the hint is lost.
                await say(owner, stage, f"Line {number}")
                await feed.until(lambda number=number: feed.seqs[-1:] == [number])
            assert feed.seqs == [1, 2, 3]


async def kill_listeners(care: Care) -> None:
    """Ends every LISTEN connection of this database."""
    await care.owner.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
        "where application_name = 'care-collective listener' and datname = current_database()"
    )


async def test_hints_that_were_not_sent_by_the_process_that_committed_are_sent_by_another(
    services: Services, stage: Stage
) -> None:
    async with node(services, stage) as make, feeding(make(stage.owner), STREAM) as feed:
        # Past the door: no nudge, as from a process that was killed after its commit.
        await stage.helper.send(stage.conversation, "Found by looking")
        await feed.until(lambda: feed.unread["messages"] == 2)


async def test_what_is_written_on_one_node_is_seen_on_another(services: Services, stage: Stage, shared: Care) -> None:
    other = services_for(shared)
    async with node(services, stage) as here, node(other, stage) as there:
        path = f"{STREAM}?conversation={stage.conversation}"
        async with feeding(there(stage.helper), path) as feed:
            for number in range(1, 6):
                await say(here(stage.owner), stage, f"Line {number}")
                await feed.until(lambda number=number: feed.seqs[-1:] == [number])
            assert feed.seqs == [1, 2, 3, 4, 5]


async def test_a_member_with_too_many_streams_loses_the_oldest_and_an_address_is_refused(
    services: Services, stage: Stage
) -> None:
    object.__setattr__(services, "live", Hub(services.listener, per_member=2, per_origin=3))
    async with node(services, stage) as make:
        owner, helper = make(stage.owner), make(stage.helper)
        async with feeding(owner, STREAM) as first, feeding(owner, STREAM) as second, feeding(owner, STREAM) as third:
            await first.until(lambda: first.ended)
            await say(helper, stage, "Which of you hears?")
            await second.until(lambda: second.unread["messages"] == 2)
            await third.until(lambda: third.unread["messages"] == 2)
        hub, mine = services.live, stage.owner
        opened = [hub.open(mine.user_id, None, "203.0.113.9") for _ in range(3)]
        with pytest.raises(Exception, match="rate_limited"):
            hub.open(stage.helper.user_id, None, "203.0.113.9")
        hub.open(stage.helper.user_id, None, "203.0.113.10")
        for one in opened:
            hub.close(one)
            hub.close(one)
        hub.open(stage.helper.user_id, None, "203.0.113.9")


async def test_a_stream_with_a_request_behind_it_ends_with_its_connection(services: Services, stage: Stage) -> None:
    headers = {"Host": stage.town.host, **bearer(stage.owner)}
    one = "\r\n".join([f"GET {STREAM} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""])
    async with serving(services) as port, asyncio.timeout(30):
        for behind in (0, 1, 5):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(one.encode() * (1 + behind))
            while len(services.live) == 0:  # noqa: ASYNC110  a number has no event
                await asyncio.sleep(0.01)
            writer.transport.abort()
            while len(services.live) > 0:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_a_stop_ends_streams_at_once(services: Services, stage: Stage) -> None:
    loop = asyncio.get_running_loop()
    headers = {"Host": stage.town.host, **bearer(stage.owner)}
    async with httpx.AsyncClient(headers=headers) as owner, AsyncExitStack() as on:
        async with serving(services) as port:
            feeds = [await on.enter_async_context(feeding(owner, f"http://127.0.0.1:{port}{STREAM}")) for _ in range(3)]
            began = loop.time()
        assert loop.time() - began < SHUTDOWN_SECONDS
        for feed in feeds:
            await feed.until(lambda feed=feed: feed.ended)


async def test_a_database_that_is_away_ends_no_stream(
    services: Services, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_PAUSE", (0.0, 0.0))
    asked, live = 0, Messaging.live

    async def away(*given: Any, **named: Any) -> Answer:  # noqa: ANN401
        nonlocal asked
        asked += 1
        if 1 < asked < 5:
            raise CareError(Code.UNAVAILABLE)
        return await live(*given, **named)

    async with node(services, stage) as make:
        monkeypatch.setattr(Messaging, "live", away)
        async with feeding(make(stage.helper), f"{STREAM}?conversation={stage.conversation}") as feed:
            await say(make(stage.owner), stage, "Still there?")
            await feed.until(lambda: feed.seqs == [1])
        assert asked >= 5
