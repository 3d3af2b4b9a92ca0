"""Letters go out by a real mail server: once each in calm, and at least once under one Message-ID whatever breaks."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from email.headerregistry import Address
from email.message import EmailMessage
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

import care_collective
from care_collective.cli.mail import mail
from care_collective.db.call import Database
from care_collective.errors import CareError, Code
from care_collective.notifications import leases
from care_collective.notifications import mailer as module
from care_collective.notifications.mailer import console
from care_collective.operations.mail import State
from care_collective.operations.smtp import MailServer, NotSent
from care_collective.rollout.alerts import Change, email_sender
from database.letters import notify, read
from engines.stage import rounds
from mail.conftest import Post
from mail_harness import PASSWORD, USER, certificate, mail_server
from web_harness import services_for, serving

SOURCE = str(Path(care_collective.__file__).parents[1])
WORKER = Path(__file__).with_name("worker.py")
KILLS = rounds(40)


async def test_letters_arrive_once_each_over_one_connection(post: Post) -> None:
    people = await post.told(*["Ann"] * 25)
    async with mail_server() as (url, box):
        nodes = [post.mailer(url) for _ in range(3)]
        await asyncio.gather(*(node.work() for node in nodes))
        await nodes[0].work()
    assert {address: len(ids) for address, ids in box.ids().items()} == dict.fromkeys(people, 1)
    assert len({one for ids in box.ids().values() for one in ids}) == 25
    assert len(box.lines) <= 4  # batches, not letters
    assert await post.states() == {"sent": 25}
    assert sum(node.counts["sent"] for node in nodes) == 25


async def test_what_was_read_is_not_sent_and_what_comes_again_waits_for_two_hours(post: Post) -> None:
    person, address = await post.member()
    bob = await post.town.member("Bob")
    await read(post.town, await notify(person, post.now))
    opened = UUID((await bob.offer_v2(await post.town.request(person)))["conversation_id"])
    await person.call("mark_read", conversation_id=opened, seq=0)
    letters = []
    async with mail_server() as (url, box):
        for minutes in (0, 1, 118, 2):
            post.wait(minutes=minutes)
            await post.mailer(url).work()
            letters.append(len(box.taken))
            await bob.send(opened, "Is ten all right?")
    assert letters == [0, 1, 1, 2]
    assert list(box.ids()) == [address]


async def test_a_letter_that_is_refused_for_good_is_dead_at_once_and_holds_back_no_other(post: Post) -> None:
    people = await post.told("Ann", "Bob", "Cid", "Dan", "Eve")
    first, second, third, *_ = people
    await post.town.care.owner.execute(
        "update care.users set email = 'a@' || chr(10) || 'b.example' where id = $1", people[third].user_id
    )
    async with mail_server() as (url, box):
        box.unknown, box.refusals = {first, second}, 1
        mailer = post.mailer(url)
        with capture_logs() as logged:
            await mailer.work()
        assert await post.states() == {"dead": 3, "sent": 1, "waiting": 1}
        assert [await post.error(people[one].user_id) for one in (first, second, third)] == [
            "recipient_550", "recipient_550", "unwritable",
        ]  # fmt: skip
        assert mailer.counts == {"dead": 3, "sent": 1, "failed": 1}
        assert len(box.lines) == 1
        post.wait(minutes=2)
        await mailer.work()
    assert await post.states() == {"dead": 3, "sent": 2}
    assert not any(address in str(logged) for address in people)


async def test_a_server_that_ends_a_line_in_between_keeps_no_other_letter_waiting(post: Post) -> None:
    await post.told("Ann", "Bob", "Cid")
    answers = iter(["421 Too many", "250 OK", "250 OK"])
    async with mail_server() as (url, box):
        box.answer = lambda: next(answers)
        mailer = post.mailer(url)
        await mailer.work()
    assert (await post.states(), mailer.counts) == ({"sent": 2, "waiting": 1}, {"sent": 2, "failed": 1})


async def test_a_database_that_is_away_for_a_moment_makes_no_letter_come_twice(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = await post.told("Ann", "Bob")
    monkeypatch.setattr(leases, "_AGAIN_SECONDS", 0.01)
    database, settle, away = post.town.care.database, Database.value, [3]

    async def value(self: Database, function: str, *caller: Any, **arguments: Any) -> Any:  # noqa: ANN401
        if function == "care.settle_delivery" and away[0]:
            away[0] -= 1
            raise CareError(Code.UNAVAILABLE, retry_after=1)
        return await settle(self, function, *caller, **arguments)

    monkeypatch.setattr(type(database), "value", value)
    async with mail_server() as (url, box):
        await post.mailer(url).work()
        assert (away, await post.states()) == ([0], {"sent": 2})
        # For as long as the lease holds, and no longer.
        away[0] = 3
        monkeypatch.setattr(leases, "LEASE_SECONDS", 0)
        people |= await post.told("Cid")
        with pytest.raises(CareError):
            await post.mailer(url).work()
    assert {address: len(ids) for address, ids in box.ids().items()} == dict.fromkeys(people, 1)


async def test_a_server_away_for_hours_is_asked_ever_more_seldom_and_then_gets_everything(post: Post) -> None:
    people = await post.told(*["Ann"] * 12)
    mailer = post.mailer("smtp://127.0.0.1:1")
    with capture_logs() as logged:
        for _ in range(60):
            await mailer.work()
            post.wait(minutes=5)
    assert await post.states() == {"waiting": 12}
    assert 12 * 4 <= mailer.counts["failed"] <= 12 * 6
    assert {line["code"] for line in logged} == {"unreachable"}
    async with mail_server() as (url, box):
        for _ in range(11):
            post.wait(hours=1)
            await post.mailer(url).work()
    assert {address: len(ids) for address, ids in box.ids().items()} == dict.fromkeys(people, 1)
    assert await post.states() == {"sent": 12}


async def test_a_worker_killed_again_and_again_and_lost_answers_forget_no_letter(post: Post) -> None:
    people = await post.told(*["Ann"] * 12)
    chance, killed = Random(11), 0
    async with mail_server() as (url, box), asyncio.timeout(180):

        async def kill_one() -> bool:
            """Lets a worker begin and kills it, at some moment or, more often, while the server has a letter of it."""
            task = asyncio.create_task(post.mailer(url).work())
            letters = len(box.taken) + chance.randint(1, 2) if chance.random() < 0.8 else None

            def answer() -> str | None:
                if letters is not None and len(box.taken) >= letters:
                    task.cancel()
                return None if chance.random() < 0.2 else "250 OK"

            box.answer = answer
            await asyncio.wait({task}, timeout=None if letters else chance.uniform(0, 0.015))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return task.cancelled()

        with capture_logs():
            while killed < KILLS:
                if await kill_one():
                    killed += 1
                elif (await post.states()).get("sent") == len(people):
                    people |= await post.told(*["Ann"] * 12)
                post.wait(seconds=61)
            while (await post.states()).get("sent", 0) < len(people):
                await post.mailer(url).work()
                post.wait(hours=1)
    found = box.ids()
    assert set(found) == set(people)
    assert all(len(set(ids)) == 1 for ids in found.values())
    assert len(box.taken) > len(people)  # else nothing was lost on the way


async def test_a_process_killed_while_it_sends_is_followed_by_another(post: Post) -> None:
    people = await post.told(*["Ann"] * 9)
    await post.town.care.owner.execute("update public.notifications set due_at = now() where due_at is not null")
    dsn = post.town.care.server.dsn(user="care_app", database=post.town.care.name)

    async def started(url: str, *once: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(sys.executable, WORKER, dsn, url, *once, env={"PYTHONPATH": SOURCE})

    async with mail_server() as (url, box), asyncio.timeout(180):
        for kills in (1, 2):
            process = await started(url)

            def kill(at: int = 3 * kills, process: asyncio.subprocess.Process = process) -> str | None:
                if len(box.taken) < at:
                    return "250 OK"
                process.send_signal(signal.SIGKILL)
                return None

            box.answer = kill
            assert await process.wait() == -signal.SIGKILL
            await post.town.care.owner.execute("update care.deliveries set leased_until = now(), due_at = now()")
        box.answer = lambda: "250 OK"
        assert await (await started(url, "once")).wait() == 0
    found = box.ids()
    assert set(found) == set(people)
    assert all(len(set(ids)) == 1 for ids in found.values())
    assert len(box.taken) == 9 + 2


async def test_a_server_that_wants_tls_and_a_password_gets_both(post: Post, tmp_path: Path) -> None:
    people = await post.told("Ann")
    serving, trusting = certificate(tmp_path)
    async with mail_server(tls=serving, password=True) as (url, box):
        with_password = url.replace("//", "//care%40example.org:a%20mail%20password%3A%20%25%40%2F@")
        for attempt, tls, code in (
            (with_password, None, "certificate"),
            (with_password.replace("mail", "wrong"), trusting, "sign_in_535"),
        ):
            with capture_logs():
                await post.mailer(MailServer(attempt, "care.example", tls).connected).work()
            assert await post.error(people[next(iter(people))].user_id) == code
            post.wait(hours=1)
        assert box.taken == []
        await post.mailer(MailServer(with_password, "care.example", trusting).connected).work()
    assert set(box.ids()) == set(people)
    assert box.over_tls == [True]


async def test_a_password_leaves_this_machine_over_tls_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    # A name that is not this machine's own, for an address that is.
    monkeypatch.setattr("care_collective.operations.smtp.is_loopback", lambda host: False)
    async with mail_server(password=True) as (url, _):
        with pytest.raises(NotSent) as refused:
            async with MailServer(url.replace("//", "//user:password@"), "care.example").connected():
                pass
    assert (refused.value.code, refused.value.line_lost) == ("not_supported", True)


async def test_operators_are_told_by_a_server_that_wants_a_password(post: Post) -> None:
    change = Change(uuid4(), "messaging_v2", post.now, "Olga", "resume", "It is mended.", to_stage="on")
    async with mail_server(password=True) as (url, box):
        user, password = USER.replace("@", "%40"), PASSWORD.replace("%", "%25").replace("@", "%40").replace("/", "%2F")
        send = email_sender(
            url.replace("//", f"//{user}:{password.replace(' ', '%20')}@"), base_url="https://care.example"
        )
        await send(change, ["olga@example.org", "otto@example.org"])
    ((recipients, _),) = box.taken
    assert recipients == ["olga@example.org", "otto@example.org"]


async def test_a_served_site_sends_letters_by_itself(post: Post) -> None:
    people = await post.told("Ann")
    await post.town.care.owner.execute("update public.notifications set due_at = now() where due_at is not null")
    async with mail_server() as (url, box):
        services = services_for(post.town.care, mailing=True, smtp_url=url)
        async with serving(services), asyncio.timeout(30):
            while not services.mailer.counts["sent"]:  # noqa: ASYNC110  it tells nobody but by its counts
                await asyncio.sleep(0)
    ((recipients, message),) = box.taken
    assert set(recipients) == set(people)
    assert message["Subject"] == "You have a new message"


async def test_without_a_mail_server_a_line_says_what_would_have_been_sent(post: Post) -> None:
    people = await post.told("Ann-Kathrin")
    mailer = post.mailer(console)
    with capture_logs() as logged:
        await mailer.work()
    (line,) = [one for one in logged if one["event"] == "mail.would_send"]
    assert line["subject"] == "You have a new message"
    assert "Kathrin" not in str(logged)
    assert next(iter(people)) not in str(logged)
    assert {type(value) for value in line.values()} == {str}  # a header is quoted twice
    assert line["why"] == "no mail server is set (CARE_SMTP_URL)"
    # It was not sent, and is not once there is a server.
    (person,) = people.values()
    assert (await post.states(), await post.error(person.user_id)) == ({"dropped": 1}, "no_mail_server")
    assert mailer.counts == {"dropped": 1}
    async with mail_server() as (url, box):
        await post.mailer(url).work()
    assert box.taken == []


@pytest.mark.parametrize("url", [None, "smtp://127.0.0.1:9"])
def test_how_letters_stand_begins_with_a_missing_mail_server(monkeypatch: pytest.MonkeyPatch, url: str | None) -> None:
    monkeypatch.setattr(sys.modules["care_collective.cli.mail"], "as_owner", lambda _: State(2, 0, 0))
    said = CliRunner(env={"CARE_SMTP_URL": url}).invoke(mail, ["status"]).output
    assert said.startswith("No mail server is set" if url is None else "Letters due: 2;")


async def test_a_batch_that_takes_too_long_leaves_the_rest_to_whoever_is_free(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = await post.told("Ann", "Bob", "Cid")
    monkeypatch.setattr(module, "_BATCH_SECONDS", -1.0)
    async with mail_server() as (url, box):
        task = asyncio.create_task(post.mailer(url).work())
        await task
        assert (await post.states(), box.taken) == ({"waiting": 3}, [])
        monkeypatch.undo()
        await post.mailer(url).work()
    assert set(box.ids()) == set(people)


async def test_a_letter_whose_sending_fails_as_nobody_foresaw_holds_back_no_other(post: Post) -> None:
    (poison,), others = await post.told("Poe"), await post.told("Ann", "Bob")
    sent: list[str] = []

    class Line:
        async def send(self, _: EmailMessage, recipients: Sequence[Address]) -> None:
            if recipients[0].addr_spec == poison:
                raise LookupError(poison)
            sent.append(recipients[0].addr_spec)

    @asynccontextmanager
    async def connect() -> AsyncIterator[Line]:
        yield Line()

    with capture_logs() as logs:
        await post.mailer(connect).work()
    assert set(sent) == set(others)
    assert await post.states() == {"sent": 2, "waiting": 1}
    assert poison not in str(logs)
