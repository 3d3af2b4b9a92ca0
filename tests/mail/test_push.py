"""Web push by a real push service: to every browser of a member, and by a letter only where that reaches none."""

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import time, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from structlog.testing import capture_logs

from care_collective.notifications.push import Pusher
from care_collective.operations.webpush import NotPushed, PushServices, Subscription, is_public, why_not_offered
from care_collective.web.pages.letters import notice_of
from database.letters import NIGHT, notify, prefer, read
from harness import Care, Person
from mail.conftest import Post
from mail_harness import Mailbox, certificate, mail_server
from push_harness import Browser, Service, push_service
from web_harness import SETTINGS, services_for

SECRET = SETTINGS.secret_key or ""


class Sending:
    """A deployment with a mail server and a push service, both real and on this machine."""

    def __init__(self, post: Post, url: str, box: Mailbox, service: Service, outside: PushServices) -> None:
        self.post, self.url, self.box, self.service, self.outside = post, url, box, service, outside

    def pusher(self) -> Pusher:
        """A node's pusher."""
        database, clock = self.post.town.care.database, lambda: self.post.now
        return Pusher(database, notice_of, self.outside, clock=clock, random_=self.post.random)

    async def work(self, *, push: bool = True) -> None:
        """A look of a node at what is due: letters and pushes, and letters that pushes became."""
        mailer = self.post.mailer(self.url, push=push)
        await mailer.work()
        if push:
            await self.pusher().work()
            await mailer.work()

    async def browsers(self, person: Person) -> set[str]:
        """Which of a member's browsers there are."""
        rows = await self.post.town.care.owner.fetch(
            "select endpoint from care.push_subscriptions where user_id = $1", person.user_id
        )
        return {str(row["endpoint"]) for row in rows}


@pytest.fixture
async def sending(post: Post, tmp_path: Path) -> AsyncIterator[Sending]:
    """A deployment that sends both."""
    serving, trusting = certificate(tmp_path)
    outside = PushServices(SECRET, "care@example.org", may_reach=lambda address: address == "127.0.0.1", tls=trusting)
    async with mail_server() as (url, box), push_service(serving) as service:
        yield Sending(post, url, box, service, outside)
    await outside.close()


async def test_a_push_comes_once_for_its_browser_alone_and_no_letter_beside_it(sending: Sending) -> None:
    post, service = sending.post, sending.service
    ann, _ = await post.member("Ann")
    bob = await post.town.member("Bob")
    await post.town.care.owner.execute("update public.profiles set locale = 'es' where user_id = $1", ann.user_id)
    browsers = [await Browser(service.endpoint(name)).of(ann) for name in ("one", "two")]
    conversation, request = uuid4(), await post.town.request(ann, title="Groceries")
    await notify(ann, post.now, actor=bob, request=request, conversation=conversation, count=2)
    await post.mailer(sending.url, push=True).work()
    await asyncio.gather(*(sending.pusher().work() for _ in range(3)))
    await sending.work()
    assert sorted(one.path for one in service.got) == ["/one", "/two"]
    assert sending.box.taken == []
    assert await post.states() == {"sent": 1}
    for pushed in service.got:
        browser = next(one for one in browsers if one.endpoint.endswith(pushed.path))
        assert browser.read(pushed) == {
            "title": post.town.host.removesuffix(".example").replace("town-", "Town "),
            "body": "Bob te ha escrito 2 mensajes sobre «Groceries».",
            "path": f"/messages/{conversation}",
            "tag": f"/messages/{conversation}",
            "lang": "es",
        }
        headers = pushed.headers
        assert (headers["ttl"], headers["urgency"], headers["content-encoding"]) == ("86400", "normal", "aes128gcm")
        assert len(headers["topic"]) == 32
        scheme, _, fields = headers["authorization"].partition(" ")
        signed = dict(one.split("=", 1) for one in fields.split(","))
        assert (scheme, signed["k"]) == ("vapid", sending.outside.public_key)
        key = ECKey.import_key(
            {"kty": "EC", "crv": "P-256", "x": _part(signed["k"], 1), "y": _part(signed["k"], 33)}
        )  # fmt: skip
        claims = jwt.decode(signed["t"], key, algorithms=["ES256"]).claims
        assert (claims["aud"], claims["sub"]) == (f"https://127.0.0.1:{service.port}", "mailto:care@example.org")
    # Nobody but the service's own browser tells by it who belongs together.
    assert len({one.headers["topic"] for one in service.got}) == 2
    assert await post.town.count("care.push_subscriptions", "last_ok_at is not null") == 2


def _part(point: str, start: int) -> str:
    raw = base64.urlsafe_b64decode(f"{point}=")
    return base64.urlsafe_b64encode(raw[start : start + 32]).rstrip(b"=").decode()


async def test_browsers_that_are_gone_go_and_after_the_last_one_a_letter_comes(sending: Sending) -> None:
    post, service = sending.post, sending.service
    people = {}
    for email in ("each", "daily", "off"):
        person, address = await post.member(email)
        await prefer(person, email=email)
        await Browser(service.endpoint(f"{email}-gone")).of(person)
        await Browser(service.endpoint(f"{email}-there")).of(person)
        await notify(person, post.now, request=await post.town.request(person), conversation=uuid4())
        people[email] = person, address
    service.answer = lambda path: 410 if path.endswith("-gone") else 201
    await sending.work()
    # By push, whatever is chosen for letters: one browser took it, the other is no more.
    assert (await post.states(), len(sending.box.taken)) == ({"sent": 3}, 0)
    for email, (person, _) in people.items():
        assert await sending.browsers(person) == {service.endpoint(f"{email}-there")}
        await notify(person, post.now, request=await post.town.request(person), conversation=uuid4())
    service.answer = lambda _: 404
    await sending.work()
    assert [await sending.browsers(person) for person, _ in people.values()] == [set(), set(), set()]
    assert list(sending.box.ids()) == [people["each"][1]]
    post.wait(days=1)
    await sending.work()
    assert {address: len(ids) for address, ids in sending.box.ids().items()} == {
        people["each"][1]: 1, people["daily"][1]: 1,
    }  # fmt: skip


async def test_a_service_that_is_busy_is_asked_again_later_and_at_last_it_is_a_letter(sending: Sending) -> None:
    post, service = sending.post, sending.service
    (address, ann), (other, bob) = (await post.told("Ann", "Bob")).items()
    await Browser(service.endpoint("busy")).of(ann)
    await Browser(service.endpoint("moved")).of(bob)
    service.answer = lambda path: {"/busy": 429, "/moved": 307}[path]
    with capture_logs() as logged:
        await sending.work()
        # Nothing is followed: it is refused at once, and a letter. The browser may be good for the next one.
        assert list(sending.box.ids()) == [other]
        for minutes in (0.5, 1, 2, 4, 15, 6):
            post.wait(minutes=minutes)
            await sending.work()
    assert sorted(one.path for one in service.got) == [*["/busy"] * 4, "/moved"]
    assert set(sending.box.ids()) == {other, address}
    assert await post.states() == {"sent": 2}
    assert (await sending.browsers(ann), await sending.browsers(bob)) == (
        {service.endpoint("busy")}, {service.endpoint("moved")},
    )  # fmt: skip
    assert {line["code"] for line in logged if line["event"] == "push.not_sent"} == {"service_429", "service_307"}
    assert "127.0.0.1" not in str(logged)


async def test_a_node_that_dies_while_it_sends_is_followed_by_another(sending: Sending) -> None:
    post, service = sending.post, sending.service
    (ann,) = (await post.told("Ann")).values()
    browser = await Browser(service.endpoint("one")).of(ann)
    await post.mailer(sending.url, push=True).work()
    service.open.clear()
    task = asyncio.create_task(sending.pusher().work())
    await asyncio.wait_for(service.arrived.wait(), 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    service.open.set()
    await sending.work()
    assert len(service.got) == 1
    post.wait(seconds=61)
    await sending.work()
    first, second = (browser.read(one) for one in service.got)
    assert first == second
    assert first["tag"]
    assert await post.states() == {"sent": 1}


async def test_quiet_hours_reading_and_turning_off_hold_for_pushes_as_for_letters(sending: Sending) -> None:
    post, service = sending.post, sending.service
    post.now = NIGHT
    (_, ann), (_, bob) = (await post.told("Ann", "Bob")).items()
    await prefer(ann, quiet_from=time(21), quiet_to=time(8))
    for person in (ann, bob):
        await Browser(service.endpoint(person.name)).of(person)
    await post.mailer(sending.url, push=True).work()
    await read(post.town, *await _told(post, bob))
    await sending.work()
    assert (service.got, await post.states()) == ([], {"dropped": 1})
    post.wait(hours=10)
    await post.mailer(sending.url, push=True).work()
    await ann.call("remove_push_subscription", endpoint=service.endpoint("Ann"))
    await sending.work()
    assert (service.got, len(sending.box.taken)) == ([], 1)


async def _told(post: Post, person: Person) -> list[UUID]:
    rows = await post.town.care.owner.fetch("select id from public.notifications where user_id = $1", person.user_id)
    return [UUID(str(row["id"])) for row in rows]


async def test_a_deployment_without_push_writes_letters_and_what_waits_for_a_push_becomes_one(
    sending: Sending,
) -> None:
    post = sending.post
    people = await post.told("Ann", "Bob")
    (_, ann), (later, bob) = people.items()
    for person in (ann, bob):
        await Browser(sending.service.endpoint(person.name)).of(person)
    await post.town.care.owner.execute(
        "update public.notifications set due_at = $2 where user_id = $1", bob.user_id, post.now + timedelta(minutes=5)
    )
    await post.mailer(sending.url, push=True).work()  # planned by a node that is stopped then
    post.wait(minutes=9)
    await sending.work(push=False)
    assert list(sending.box.ids()) == [later]
    post.wait(minutes=2)
    await sending.work(push=False)
    assert set(sending.box.ids()) == set(people)
    assert sending.service.got == []
    assert await post.states() == {"sent": 2}


def test_only_addresses_of_the_public_internet_are_reached() -> None:
    private = (
        "127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255 "
        "::1 :: fe80::1 fd00::1 ff02::1 ::ffff:10.0.0.1 ::ffff:8.8.8.8 64:ff9b::a00:1 2002:a00:1:: 2001:0:1::1 "
        "2001:db8::1"
    )
    assert [one for one in private.split() if is_public(one)] == []
    assert [one for one in ("8.8.8.8", "142.250.1.1", "2a00:1450:4001::1") if not is_public(one)] == []


async def test_a_name_that_leads_inside_is_never_connected_to(tmp_path: Path) -> None:
    serving, trusting = certificate(tmp_path)
    keys = Browser("").keys
    async with push_service(serving) as service:
        asked: list[tuple[str, int]] = []

        async def resolve(host: str, port: int) -> list[str]:
            asked.append((host, port))
            # One address of several is enough: which of them a connection takes is chance.
            return ["8.8.8.8", "127.0.0.1"]

        outside = PushServices(SECRET, "care@example.org", resolve=resolve, tls=trusting)
        for endpoint in (
            f"https://push.example:{service.port}/", service.endpoint("one"), f"https://0x7f.1:{service.port}/",
        ):  # fmt: skip
            with pytest.raises(NotPushed) as refused:
                await outside.send(Subscription(uuid4(), endpoint, **keys), b"{}", topic="", urgent=True)
            assert (refused.value.code, refused.value.gone) == ("forbidden_address", True)
        await outside.close()
        real = PushServices(SECRET, "care@example.org", tls=trusting)
        with pytest.raises(NotPushed, match="forbidden_address"):
            await real.send(Subscription(uuid4(), service.endpoint("one"), **keys), b"{}", topic="", urgent=True)
        wrong = {**keys, "p256dh": f"B{'A' * 86}"}
        with pytest.raises(NotPushed, match="unreadable"):
            await real.send(Subscription(uuid4(), service.endpoint("one"), **wrong), b"{}", topic="", urgent=True)
        await real.close()
        assert asked[0] == ("push.example", service.port)
        assert service.got == []


async def test_a_member_has_ten_browsers_and_a_browser_one_member(post: Post) -> None:
    ann, bob = await post.town.member("Ann"), await post.town.member("Bob")
    browsers = [await Browser(f"https://push.example/{number}").of(ann) for number in range(10)]
    await post.town.care.owner.execute(
        "update care.push_subscriptions set last_ok_at = now() + interval '1 hour' where endpoint like '%/0'"
    )
    for one in (browsers[3], Browser("https://push.example/10")):
        await one.of(ann)
    rows = await post.town.care.owner.fetch("select endpoint, user_id from care.push_subscriptions")
    kept = {int(row["endpoint"].rpartition("/")[2]) for row in rows if row["user_id"] == ann.user_id}
    assert kept == {0, 2, 3, 4, 5, 6, 7, 8, 9, 10}
    await browsers[3].of(bob)
    assert await post.town.count("care.push_subscriptions") == 10
    assert len((await bob.call("list_push_subscriptions"))["subscriptions"]) == 1
    await ann.call("remove_push_subscription", endpoint=browsers[3].endpoint)
    assert len((await bob.call("list_push_subscriptions"))["subscriptions"]) == 1
    good = {"endpoint": "https://push.example/one", **browsers[0].keys}
    for field, values in {
        "endpoint": (
            "http://push.example/",
            "https://a@push.example/",
            "https:///x",
            f"https://a/{'b' * 1000}",
            "https://a",
            "https://ä/",
        ),
        "p256dh": ("", "A" * 87, good["p256dh"][:-1], f"{good['p256dh']}="),
        "auth": ("", "A" * 21, "A" * 21 + "B", "é" * 22),
    }.items():
        for value in values:
            refused = await ann.call("add_push_subscription", **{**good, field: value})
            assert (refused["error"], list(refused["fields"])) == ("validation_error", [field]), value


async def test_push_is_offered_over_https_or_on_this_machine_alone(posted: Care) -> None:
    assert [why_not_offered(url) for url in ("https://care.example", "http://localhost:8000", "http://127.0.0.1")] == [
        None, None, None,
    ]  # fmt: skip
    assert "CARE_BASE_URL" in (why_not_offered("http://care.example") or "")
    assert services_for(posted).pusher is None
    keys = []
    for _ in range(2):
        services = services_for(posted, base_url="https://care.example")
        assert services.pusher is not None
        keys.append(services.pusher.services.public_key)
        await services.close()
    assert keys[0] == keys[1]
