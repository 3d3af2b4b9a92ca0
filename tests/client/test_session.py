"""Who calls: a token that ends is renewed without the call noticing, and nobody's session is another's."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta

import httpx
import pytest

from care_collective.client import CareClient, ConnectionFailed, Credentials, Unauthenticated
from care_collective.web.services import Services, utc_now
from client.conftest import Connect, token
from client.proxy import Cutter, cutting
from harness import Care, Town
from web_harness import PASSWORD, approve, fresh_email, services_for, serving


@pytest.fixture
def engine() -> str:
    """Sessions know no engine: one is enough."""
    return "v2"


class Clock:
    """The server's clock and the client's, which may disagree."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)
        self.seconds = 0.0

    def server(self) -> datetime:
        """The server's time."""
        return utc_now() + self.ahead

    def client(self) -> float:
        """The client's time."""
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    """Clocks that the test sets."""
    return Clock()


@pytest.fixture
async def services(shared: Care, clock: Clock) -> AsyncIterator[Services]:
    """A node whose clock the test sets."""
    made = replace(services_for(shared, messaging_v2_rollout="on"), now=clock.server)
    yield made
    await made.close()


@pytest.fixture
async def email(town: Town, port: int, connect: Connect) -> str:
    """The address of an approved member."""
    address = fresh_email()
    me = await connect(port).accounts.sign_up(address, PASSWORD, "Nia")
    await approve(town, str(me.user_id))
    return address


def watched(client: CareClient) -> list[tuple[str, int, str | None]]:
    """What passes from now on: path, status and key."""
    seen: list[tuple[str, int, str | None]] = []

    async def hear(answer: httpx.Response) -> None:
        seen.append((answer.request.url.path, answer.status_code, answer.request.headers.get("idempotency-key")))

    client._http.event_hooks["response"].append(hear)
    return seen


async def test_an_ended_token_is_renewed_and_the_write_repeated_once_under_its_key(
    port: int, connect: Connect, email: str, clock: Clock, town: Town
) -> None:
    client = connect(port, clock=clock.client)
    await client.accounts.sign_in(email, PASSWORD)
    seen = watched(client)
    clock.ahead = timedelta(hours=2)
    asked = await client.requests.create("A ride on Monday", "other")
    assert [(path, status) for path, status, _ in seen] == [
        ("/api/requests", 401),
        ("/api/auth/sign-in", 200),
        ("/api/requests", 201),
    ]
    assert seen[0][2] == seen[2][2] is not None
    assert (seen[1][2], asked.replayed) == (None, False)
    assert (await client.accounts.me()).email == email
    assert len(seen) == 4
    assert await town.count("public.help_requests") == 1


async def test_many_calls_renew_an_ended_token_together_once(
    port: int, connect: Connect, email: str, clock: Clock, town: Town
) -> None:
    client = connect(port, credentials=Credentials(email, PASSWORD), clock=clock.client)
    await client.accounts.me()
    seen = watched(client)
    clock.ahead = timedelta(hours=2)
    await asyncio.gather(*(client.requests.create(f"Request {n}", "other") for n in range(8)))
    assert [path for path, _, _ in seen].count("/api/auth/sign-in") == 1
    assert await town.count("public.help_requests") == 8


async def test_a_token_is_renewed_shortly_before_its_end(port: int, connect: Connect, email: str, clock: Clock) -> None:
    client = connect(port, credentials=Credentials(email, PASSWORD), clock=clock.client)
    seen = watched(client)
    for seconds, calls in ((0, ["sign-in", "me"]), (3569, ["me"]), (3571, ["sign-in", "me"]), (3600, ["me"])):
        clock.seconds = seconds
        await client.accounts.me()
        assert [path.rpartition("/")[2] for path, _, _ in seen] == calls, seconds
        seen.clear()


async def test_a_token_of_ones_own_is_not_renewed(port: int, connect: Connect, town: Town, clock: Clock) -> None:
    client = connect(port, await town.member())
    await client.accounts.me()
    seen = watched(client)
    clock.ahead = timedelta(days=2)
    with pytest.raises(Unauthenticated) as caught:
        await client.requests.create("A ride on Monday", "other")
    assert caught.value.key == seen[0][2]
    assert len(seen) == 1
    with pytest.raises(ValueError, match="not both"):
        CareClient("http://care.example", token="t", credentials=Credentials("a", "b"))


async def test_a_wrong_password_is_tried_once_a_call(port: int, connect: Connect, email: str, clock: Clock) -> None:
    client = connect(port, credentials=Credentials(email, "wrong " + PASSWORD))
    seen = watched(client)
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            await client.requests.create("A ride on Monday", "other")
    assert [(path, status) for path, status, _ in seen] == [("/api/auth/sign-in", 401)] * 2
    # A token that is refused right after it was made is not asked for again and again.
    late = connect(port, credentials=Credentials(email, PASSWORD))
    await late.accounts.me()
    seen = watched(late)
    clock.ahead = timedelta(hours=2)
    late._http.event_hooks["request"].append(_spoil)
    with pytest.raises(Unauthenticated):
        await late.accounts.me()
    assert [path.rpartition("/")[2] for path, _, _ in seen] == ["me", "sign-in", "me"]


async def _spoil(request: httpx.Request) -> None:
    if "authorization" in request.headers:
        request.headers["authorization"] += "x"


async def test_signing_in_is_not_tried_again_where_its_answer_is_lost(
    port: int, connect: Connect, email: str, town: Town
) -> None:
    cutter = Cutter(share=1.0, draw=random.Random(1))
    async with cutting(port, cutter) as cut:
        client = connect(cut)
        for call in (
            lambda: client.accounts.sign_in(email, PASSWORD),
            lambda: client.accounts.sign_up(fresh_email(), PASSWORD, "Ann"),
            client.accounts.sign_out,
        ):
            with pytest.raises(ConnectionFailed):
                await call()
    assert sum(cutter.lost.values()) == 3


async def test_signing_out_ends_the_session_and_forgets_who_called(
    port: int, connect: Connect, email: str, town: Town
) -> None:
    client = connect(port)
    me = await client.accounts.sign_in(email, PASSWORD)
    before = await town.care.owner.fetchval("select count(*) from care.sessions where user_id = $1", me.user_id)
    await client.accounts.sign_in(email, PASSWORD)
    await client.accounts.sign_out()
    after = await town.care.owner.fetchval("select count(*) from care.sessions where user_id = $1", me.user_id)
    assert after == before - 1
    with pytest.raises(Unauthenticated):
        await client.accounts.me()


async def test_where_no_tokens_are_made_the_session_cookie_serves_and_is_its_owners_alone(
    shared: Care, town: Town
) -> None:
    node = services_for(shared, jwt_secret=None)
    async with serving(node) as port, httpx.AsyncClient(headers={"Host": town.host}) as http:
        url = f"http://127.0.0.1:{port}"
        ann, bea = CareClient(url, http=http), CareClient(url, http=http)
        for client, name in ((ann, "Ann"), (bea, "Bea")):
            me = await client.accounts.sign_up(fresh_email(), PASSWORD, name)
            assert me.access_token is None
            await approve(town, str(me.user_id))
        assert not list(http.cookies.jar)
        for client, name in ((ann, "Ann"), (bea, "Bea"), (ann, "Ann")):
            assert (await client.accounts.me()).display_name == name
            asked = await client.requests.create(f"A ride for {name}", "other")
            assert (await client.requests.get(asked.help_request_id)).is_mine
        with pytest.raises(Unauthenticated):
            await CareClient(url, http=http).accounts.me()
        await town.care.owner.execute("delete from care.sessions where user_id = $1", me.user_id)
        assert (await bea.accounts.me()).display_name == "Bea"
        await ann.accounts.sign_out()
        with pytest.raises(Unauthenticated):
            await ann.accounts.me()
        assert (await bea.accounts.me()).display_name == "Bea"
    await node.close()


async def test_no_secret_is_shown(port: int, connect: Connect, email: str, town: Town) -> None:
    client = connect(port, credentials=Credentials(email, PASSWORD))
    me = await client.accounts.sign_in(email, PASSWORD)
    shown = repr((me, client, client.__dict__, vars(client.accounts._session)))
    own = token(await town.member())
    given = connect(port, token=own)
    with pytest.raises(Unauthenticated) as caught:
        await connect(port, credentials=Credentials(email, "wrong " + PASSWORD)).accounts.me()
    shown += repr((vars(given.accounts._session), caught.value, caught.value.problem)) + str(caught.value)
    for secret in (PASSWORD, str(me.access_token), str(me.csrf_token), own):
        assert secret not in shown
