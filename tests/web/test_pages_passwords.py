"""A new password as people get one: by the present one, and by a letter; and what nobody learns or gains on the way."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from care_collective.accounts import resets
from care_collective.db.call import Caller, Database
from care_collective.errors import CareError, Code
from care_collective.web.services import Services
from harness import Care, Town
from web.pages import Sheet, led, opened, refused, sent
from web_harness import PASSWORD, Client, browser, fresh_email, joined, services_for

NEXT = "four other words in a row"
SIGN_IN = "/api/auth/sign-in"


@pytest.fixture
def engine() -> str:
    """Passwords know no engine: one is enough."""
    return "v2"


@pytest.fixture
async def posting(shared: Care) -> AsyncIterator[Services]:
    """A node that can send letters. Nothing of it runs here that would."""
    made = services_for(shared, smtp_url="smtp://127.0.0.1:9")
    yield made
    await made.close()


async def signs_in(services: Services, town: Town, email: str, password: str) -> bool:
    """Whether an address and a password open a session in a new browser."""
    async with browser(services, town) as client:
        answer = await client.post(SIGN_IN, json={"email": email, "password": password})
    return answer.status_code == 200


async def link(services: Services, user_id: UUID | str, *, ago: timedelta = timedelta()) -> str:
    """Where a letter's link leads, as its sender makes it; sent a while ago."""
    set_at = await services.database.value("care.password_set_at", p_user_id=UUID(str(user_id)))
    now = services.now() - ago
    token = resets.reset_token(services.secret_key, user_id=UUID(str(user_id)), set_at=set_at, now=now)
    return f"/password/new?token={token}"


async def test_the_present_password_is_changed_and_every_other_session_ends(services: Services, town: Town) -> None:
    email = fresh_email()
    async with browser(services, town) as here, browser(services, town) as there:
        await joined(here, email)
        assert (await there.post(SIGN_IN, json={"email": email, "password": PASSWORD})).status_code == 200
        form = (await opened(here, "/settings/password")).form("/password")
        for present, password, words in (
            ("not the present one", NEXT, "This is not your present password."),
            (PASSWORD, "short", "Use at least 10 characters."),
        ):
            page = await refused(here, form, 400, present=present, password=password)
            assert words in page.said
            assert {page.form("/password").fields[name] for name in ("present", "password")} == {""}
        assert await signs_in(services, town, email, PASSWORD)
        assert await led(here, form, present=PASSWORD, password=NEXT) == "/settings?done=password"
        assert "Your password is changed." in (await opened(here, "/settings?done=password")).said
        assert (await there.get("/api/auth/me")).status_code == 401
        assert not await signs_in(services, town, email, PASSWORD)
        assert await signs_in(services, town, email, NEXT)
        # What is typed when the session has ended is not carried along, as other words are.
        here.cookies.clear()
        ended = await sent(here, form, present=NEXT, password=PASSWORD)
        assert (ended.status_code, NEXT in ended.text, PASSWORD in ended.text) == (401, False, False)


async def test_a_password_is_not_shown_again_where_the_database_is_away(
    services: Services, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise CareError(Code.UNAVAILABLE, retry_after=1)

    async with browser(services, town) as client:
        path = await link(services, (await joined(client, fresh_email()))["user_id"])
        forms = [(await opened(client, one)).form(one.partition("?")[0]) for one in ("/settings/password", path)]
        monkeypatch.setattr(Database, "_row", away)
        for form in forms:
            answer = await sent(client, form, present=PASSWORD, password=NEXT)
            assert (answer.status_code, PASSWORD in answer.text, NEXT in answer.text) == (503, False, False)
        monkeypatch.undo()


async def test_guessing_the_present_password_is_limited_as_signing_in_is(services: Services, shared: Care) -> None:
    town = await shared.town(limits={"sign_ins_per_quarter_hour": 3})
    async with browser(services, town) as client:
        email = fresh_email()
        await joined(client, email)  # counts
        form = (await opened(client, "/settings/password")).form("/password")
        statuses = [(await sent(client, form, present="a guess", password=NEXT)).status_code for _ in range(3)]
        assert statuses == [400, 400, 429]
        assert (await client.post(SIGN_IN, json={"email": email, "password": PASSWORD})).status_code == 429


async def letters(town: Town) -> int:
    return await town.count("care.deliveries", "kind = 'password_reset'")


async def test_asking_for_a_letter_answers_and_works_alike_for_every_address(
    posting: Services, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the answer the same calls are made, whoever's address it is; who has an account is looked up after it."""
    calls: list[str] = []
    real: Callable[..., Awaitable[Any]] = Database._row

    async def counted(self: Database, function: str, caller: Caller, arguments: dict[str, object]) -> Any:  # noqa: ANN401
        calls.append(function)
        return await real(self, function, caller, arguments)

    answered: list[tuple[int, list[tuple[str, str]], list[str]]] = []
    known = fresh_email()
    async with browser(posting, town) as client:
        await joined(client, known)
        client.cookies.clear()
        form = (await opened(client, "/password/forgotten")).form("/password/forgotten")
        monkeypatch.setattr(Database, "_row", counted)
        for address in (known.upper(), fresh_email()):
            calls.clear()
            answer = await sent(client, form, email=address)
            headers = sorted((name, value) for name, value in answer.headers.items() if name != "x-request-id")
            answered.append((answer.status_code, headers, list(calls)))
        monkeypatch.undo()
        assert answered[0] == answered[1]
        assert answered[0][2][-1] == "care.ask_password_reset"
        assert "Look into your mailbox" in (await opened(client, str(answer.headers["location"]))).said
        assert await letters(town) == 1
        await sent(client, form, email=known)
        assert await letters(town) == 1, "a second letter within five minutes"
        wrong = await refused(client, form, 400, email="nobody")
        assert wrong.form("/forgotten").fields["email"] == "nobody"


async def test_the_answer_is_out_before_the_account_is_looked_for(
    posting: Services, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []

    async def late(*_: object) -> None:
        heard.append("looked")

    monkeypatch.setattr("care_collective.web.pages.passwords._make", late)
    edge: Any = browser(posting, town)._transport
    application = edge.app

    async def listening(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        async def sending(message: Any) -> None:  # noqa: ANN401
            heard.append(message["type"])
            await send(message)

        await application(scope, receive, sending)

    async with browser(posting, town) as client:
        client._transport.app = listening  # type: ignore[attr-defined]
        await client.post("/password/forgotten", data={"email": fresh_email()})
    assert heard == ["http.response.start", "http.response.body", "looked"]


async def test_letters_are_limited_by_address(posting: Services, shared: Care) -> None:
    town = await shared.town(limits={"sign_ins_per_quarter_hour": 2})
    async with browser(posting, town) as client:
        form = (await opened(client, "/password/forgotten")).form("/password/forgotten")
        statuses = [(await sent(client, form, email=fresh_email())).status_code for _ in range(3)]
        assert statuses == [303, 303, 429]


async def test_only_a_living_member_of_this_community_is_written_to(posting: Services, town: Town) -> None:
    elsewhere = await town.care.town()
    gone, abroad = fresh_email(), fresh_email()
    async with browser(posting, town) as client, browser(posting, elsewhere) as other:
        user_id = (await joined(client, gone))["user_id"]
        await town.care.owner.execute("update care.users set deleted_at = now() where id = $1", UUID(user_id))
        await joined(other, abroad)
        form = (await opened(client, "/password/forgotten")).form("/password/forgotten")
        for email in (gone, abroad):
            await led(client, form, email=email)
        assert await letters(town) == await letters(elsewhere) == 0
        assert await posting.database.value("care.password_set_at", p_user_id=UUID(user_id)) is None


async def test_who_waits_is_told_of_a_letter_where_one_can_come(
    services: Services, posting: Services, town: Town
) -> None:
    for node, words in ((services, "Come back and sign in when you like."), (posting, "We write to you when it is")):
        async with browser(node, town) as client:
            await joined(client, fresh_email())
            assert words in (await opened(client, "/account")).said
            assert words in (await opened(client, "/requests", 403)).said


async def test_without_a_mail_server_the_page_says_whom_to_ask(services: Services, town: Town) -> None:
    async with browser(services, town) as client:
        page = await opened(client, "/password/forgotten")
        assert "Ask a coordinator" in page.said
        assert not page.offers("/password/forgotten")
        answer = await client.post("/password/forgotten", data={"email": fresh_email()})
        assert answer.headers["location"] == "/password/forgotten"


async def test_a_letters_link_sets_a_password_once_and_ends_every_session(services: Services, town: Town) -> None:
    email = fresh_email()
    async with browser(services, town) as before, browser(services, town) as client:
        path = await link(services, (await joined(before, email))["user_id"])
        form = (await opened(client, path)).form("/password/new")
        assert (await refused(client, form, 400, password="a" * 20)).form("/password/new").fields["password"] == ""
        place = await led(client, form, password=NEXT)
        assert "Please sign in with the new one" in (await opened(client, place)).said
        assert (await before.get("/api/auth/me")).status_code == 401
        assert await signs_in(services, town, email, NEXT)
        # Used: neither the form that is still open nor the letter's link does anything any more.
        for again in ((await sent(client, form, password=PASSWORD)), (await client.get(path))):
            assert again.status_code == 404
            assert "This link does not work any more" in Sheet(again.text).said
        assert not await signs_in(services, town, email, PASSWORD)


async def test_a_link_that_is_late_foreign_or_made_up_opens_nothing(services: Services, town: Town) -> None:
    email = fresh_email()
    async with browser(services, town) as client:
        user_id = (await joined(client, email))["user_id"]
        stranger = (await town.member("Eve")).user_id
        good = await link(services, user_id)
        form = (await opened(client, good)).form("/password/new")
        set_at = await services.database.value("care.password_set_at", p_user_id=UUID(user_id))
        forged = resets.reset_token("another key", user_id=UUID(user_id), set_at=set_at, now=services.now())
        nobody = resets.reset_token(services.secret_key, user_id=stranger, set_at=set_at, now=services.now())
        late = (await link(services, user_id, ago=timedelta(hours=1))).partition("=")[2]
        for token in ("", "x", forged, nobody, late, f"{form.fields['token'][:-2]}AA", "é\0"):
            assert (await client.get("/password/new", params={"token": token})).status_code == 404
            assert (await sent(client, form, token=token, password=NEXT)).status_code == 404, token
        # A change by other means ends it too.
        await led(
            client, (await opened(client, "/settings/password")).form("/password"), present=PASSWORD, password=NEXT
        )
        assert (await sent(client, form, password=PASSWORD)).status_code == 404
        assert await signs_in(services, town, email, NEXT)


async def test_another_site_can_neither_ask_nor_set(posting: Services, town: Town) -> None:
    async with browser(posting, town) as client:
        path = await link(posting, (await joined(client, fresh_email()))["user_id"])
        await _refuses(client, "/password/forgotten", email=fresh_email())
        await _refuses(client, "/password/new", token=path.partition("=")[2], password=NEXT)
    assert await letters(town) == 0


async def _refuses(client: Client, path: str, **typed: str) -> None:
    answer = await client.post(path, data=typed, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
