"""Every form of the pages, forged, foreign and late: refused in words, and nothing written. From the router's table."""

import re
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest

from care_collective.accounts import resets, sessions
from care_collective.notifications import unsubscribe
from care_collective.web.services import Services
from harness import FIRST_WORDS, Care, Person, Town
from web.pages import Sheet
from web_harness import PASSWORD, approve, browser, fresh_email, joined, pages_of, services_for

ROLLOUT = "/operator/rollout"
# Forms of people who have no session yet: what guards them is where they come from, and what was sealed for them.
SESSIONLESS = {"/sign-in", "/sign-up", "/password/forgotten", "/password/new"}
# The one click of mail programs comes from anywhere (RFC 8058): its address says who asks.
SEALED = "/unsubscribe"
NONE: dict[str, str] = {}
SAID = "Words of their own in a form"


class Form(msgspec.Struct, frozen=True):
    """A form that would be obeyed: its place in the router, who sends it, where, and what is typed."""

    template: str
    who: Person
    path: str
    typed: dict[str, str] = {}


@pytest.fixture
def engine() -> str:
    """Pages know no engine."""
    return "v2"


@pytest.fixture
async def node(scratch: Care) -> AsyncIterator[Services]:
    """A node that would send letters, on a database in which nothing else happens."""
    services = services_for(scratch, smtp_url="smtp://127.0.0.1:9")
    yield services
    await services.close()


async def with_password(node: Services, town: Town) -> tuple[Person, str]:
    """A member who can prove who they are."""
    email = fresh_email()
    async with browser(node, town) as client:
        user_id = (await joined(client, email))["user_id"]
    await approve(town, user_id)
    return Person(town, UUID(user_id), "Nia"), email


async def forms_of(node: Services, town: Town) -> list[Form]:
    """Every form, in an order in which each would be obeyed."""
    care = town.care
    owner, helper, operator = await town.member("Olga"), await town.member("Hal"), await town.member("Otto")
    coordinator, applicant = await town.member("Cora", coordinator=True), await town.member("Ida", status="pending")
    await care.owner.execute("insert into care.operators values ($1, 'a test')", operator.user_id)
    nia, email = await with_password(node, town)
    asked, given, done, free = [await town.request(owner, title=f"Groceries {n}") for n in range(4)]
    threads = [(await helper.offer_v2(request))["conversation_id"] for request in (asked, given, done)]
    for thread in threads[1:]:
        assert (await owner.call("accept_offer", conversation_id=UUID(thread)))["success"]
    told = await care.owner.fetchval(
        "select id from public.notifications where user_id = $1 order by created_at limit 1", owner.user_id
    )
    set_at = await node.database.value("care.password_set_at", p_user_id=nia.user_id)
    token = resets.reset_token(node.secret_key, user_id=nia.user_id, set_at=set_at, now=node.now())
    sealed = unsubscribe.sealed(node.secret_key, town.community_id, helper.user_id)
    reason, ask = {"reason": SAID}, {"title": SAID, "category": "other", "urgency": "normal"}
    thread, request = "/messages/{conversation_id}", "/requests/{help_request_id}"
    first, second = f"/messages/{threads[0]}", f"/messages/{threads[1]}"

    def verb(name: str, who: Person = owner, path: str = first, typed: dict[str, str] = NONE) -> Form:
        return Form(f"{thread}/{name}", who, f"{path}/{name}", typed)

    def of_request(name: str, identity: UUID, who: Person = owner, typed: dict[str, str] = NONE) -> Form:
        return Form(f"{request}/{name}", who, f"/requests/{identity}/{name}", typed)

    return [
        Form(thread, owner, first, {"content": SAID}),
        *(verb("accept"), verb("step-back", helper), verb("release", path=second)),
        *(verb("mute", typed={"for": "week"}), verb("unmute"), verb("archive"), verb("unarchive")),
        *(verb("decline", typed=reason), verb("reopen"), verb("close")),
        Form("/requests", owner, "/requests", ask),
        of_request("edit", free, typed=ask),
        of_request("offer", free, helper, {"initial_message": f"{FIRST_WORDS} {SAID}"}),
        *(of_request("cancel", free, typed=reason), of_request("reopen", free), of_request("complete", done)),
        Form("/notifications/{notification_id}/read", owner, f"/notifications/{told}/read"),
        Form("/notifications/read-all", owner, "/notifications/read-all"),
        verb("block", path=second),
        Form("/settings/blocks/{user_id}/unblock", owner, f"/settings/blocks/{helper.user_id}/unblock"),
        Form("/settings", owner, "/settings", {"email": "off", "quiet_from": "22:00", "quiet_to": "07:00"}),
        Form("/settings/profile", owner, "/settings/profile", {"display_name": SAID, "town": "Linden"}),
        Form("/problems", owner, "/problems", {"code": "unavailable", "reference": "0123456789abcdef", "words": SAID}),
        Form(
            "/coordinator/approvals/{applicant_id}/{decision}",
            coordinator,
            f"/coordinator/approvals/{applicant.user_id}/approve",
        ),
        Form(f"{ROLLOUT}/move", operator, f"{ROLLOUT}/move", {"stage": "internal", "reason": SAID, "sure": "yes"}),
        Form(f"{ROLLOUT}/stop", operator, f"{ROLLOUT}/stop", {"why": "errors", "reason": SAID, "sure": "yes"}),
        Form(f"{ROLLOUT}/go-on", operator, f"{ROLLOUT}/go-on", {"stage": "internal", "reason": SAID, "sure": "yes"}),
        Form(SEALED, helper, f"{SEALED}?m={sealed}"),
        Form("/sign-in", nia, "/sign-in", {"email": email, "password": PASSWORD}),
        Form("/sign-up", nia, "/sign-up", {"email": fresh_email(), "password": PASSWORD, "display_name": SAID}),
        Form("/password/forgotten", nia, "/password/forgotten", {"email": email}),
        Form("/password/new", nia, "/password/new", {"token": token, "password": PASSWORD}),
        Form("/settings/password", nia, "/settings/password", {"present": PASSWORD, "password": f"{PASSWORD} more"}),
        Form("/settings/data", nia, "/settings/data", {"password": f"{PASSWORD} more", "confirm": "delete"}),
        Form("/sign-out", helper, "/sign-out"),
    ]


async def contents(care: Care) -> dict[str, str]:
    """Every table, as one digest of all its rows; but for the sessions and counters, which are about attempts."""
    tables = await care.owner.fetch(
        "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname in ('public', 'care') "
        "and tablename not in ('sessions', 'rate_counters', 'sign_in_attempts')"
    )
    digest = "select md5(coalesce(string_agg(t::text, '|' order by t::text), '')) from {} as t"
    return {name: await care.owner.fetchval(digest.format(name)) for (name,) in tables}


class Sender(msgspec.Struct, frozen=True):
    """Sends forms as browsers do in which the members are signed in."""

    node: Services
    tokens: dict[UUID, str] = {}

    async def token(self, person: Person) -> str:
        """A member's session."""
        if person.user_id not in self.tokens:
            opened = sessions.start(self.node.database, user_id=person.user_id, community_id=person.town.community_id)
            self.tokens[person.user_id] = await opened or ""
        return self.tokens[person.user_id]

    async def __call__(
        self, form: Form, *, host: str | None = None, signed_in: bool = True, path: str | None = None,
        headers: dict[str, str] | None = None, **fields: str | None,
    ) -> httpx.Response:  # fmt: skip
        """The answer to a form with some of its fields changed or, for None, left out."""
        token = await self.token(form.who)
        sent = {
            **form.typed,
            "csrf_token": sessions.csrf_token(self.node.secret_key, token),
            "key": f"{form.who.user_id}.{uuid4()}",
            **fields,
        }
        async with browser(self.node, form.who.town) as client:
            if signed_in and form.template not in SESSIONLESS | {SEALED}:
                client.cookies.set("care_session", token)
            return await client.post(
                path or form.path,
                data={name: value for name, value in sent.items() if value is not None},
                headers={"Host": host or form.who.town.host, **(headers or {})},
            )


def in_words(answer: httpx.Response, status: int, case: object) -> str:
    """What a refusal says: a page with words, and no word of where it was refused."""
    said = Sheet(answer.text).said
    assert answer.status_code == status, (case, answer.status_code, said[:300])
    assert answer.headers["content-type"].startswith("text/html"), case
    assert "unsafe" not in answer.headers["content-security-policy"], case
    assert not re.search(r"Traceback|care\.|public\.|asyncpg|_fkey|\bnull\b|\bNone\b", said), (case, said)
    return said.replace(answer.headers["x-request-id"], "")


@pytest.fixture
async def stage(scratch: Care, node: Services) -> list[Form]:
    """All forms there are, in one town."""
    return await forms_of(node, await scratch.town())


async def test_every_form_of_the_router_is_known_and_obeyed_once(node: Services, stage: list[Form]) -> None:
    posted = {path for path, methods in pages_of(node) if "POST" in methods}
    assert posted == {form.template for form in stage}
    send = Sender(node)
    care = stage[0].who.town.care
    for form in stage:
        before = await contents(care)
        answer = await send(form)
        if form.template == "/password/new":
            send.tokens.clear()  # it has ended every session
        assert answer.status_code in {200, 303}, (form.path, answer.status_code, Sheet(answer.text).said)
        # So that what is refused below would have been written, where it is more than a session or a letter.
        assert await contents(care) != before or form.template in {"/sign-in", "/sign-out", "/password/forgotten"}, form


async def test_a_forged_form_is_refused_in_words_and_writes_nothing(node: Services, stage: list[Form]) -> None:
    town = stage[0].who.town
    send, stranger = Sender(node), await town.member("Sam")
    before = await contents(town.care)
    another = sessions.csrf_token(node.secret_key, await send.token(stranger))
    for form in stage:
        # A form that the state has no place for just now is not shown again: nothing is stopped that is off.
        typed = SAID in form.typed.values() and form.path not in {f"{ROLLOUT}/stop", f"{ROLLOUT}/go-on"}
        if form.template not in SESSIONLESS | {SEALED}:
            for token in (None, "", another, "\u00ff" * 64):
                said = in_words(await send(form, csrf_token=token), 403, (form.path, token))
                assert "for too long" in said or form.template == "/sign-out", (form.path, said)
            answer = await send(form, csrf_token=another)
            assert SAID in answer.text or not typed, form.path
            answer = await send(form, signed_in=False)
            if form.template != "/sign-out":
                in_words(answer, 401, form.path)
                assert SAID in answer.text or not typed, form.path
        if form.template not in SESSIONLESS | {SEALED, "/sign-out", "/settings/password"}:
            # What somebody else typed into a page that is still open is not shown to who is signed in now.
            answer = await send(form, key=f"{stranger.user_id}.{uuid4()}")
            assert "Somebody else has signed in" in in_words(answer, 403, form.path)
            assert SAID not in answer.text, form.path
        if form.template != SEALED:
            for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
                in_words(await send(form, headers=headers), 403, (form.path, headers))
        else:
            for path in (SEALED, f"{form.path}x", form.path.replace("m=", "m=A")):
                in_words(await send(form, path=path), 400, path)
    assert await contents(town.care) == before


async def test_what_is_elsewhere_is_refused_as_what_is_not_there(node: Services, stage: list[Form]) -> None:
    town = stage[0].who.town
    away = await town.care.town()
    abroad = {form.template: form.path for form in await forms_of(node, away)}
    await town.care.owner.execute(
        "update public.profiles set display_name = 'Faraway' where community_id = $1", away.community_id
    )
    send, before = Sender(node), await contents(town.care)
    for form in stage:
        if "{" in form.template:
            own = re.search(r"[0-9a-f-]{36}", form.path)
            assert own is not None
            unknown = await send(form, path=form.path.replace(own[0], str(uuid4())), key="")
            foreign = await send(form, path=abroad[form.template], key="")
            if form.path.endswith("/unblock"):  # nobody is blocked there: nothing is left to end
                assert (unknown.status_code, foreign.status_code) == (303, 303)
            else:
                assert unknown.status_code in {403, 404}, form.path
                said = in_words(unknown, unknown.status_code, form.path)
                assert in_words(foreign, unknown.status_code, form.path) == said
            assert "Faraway" not in foreign.text
            for path in (form.path.replace(own[0], "nonsense"), form.path.replace(own[0], "%00")):
                in_words(await send(form, path=path), 404, path)
    assert await contents(town.care) == before


async def test_at_another_communitys_host_a_session_is_nobodys(node: Services, stage: list[Form]) -> None:
    away = await stage[0].who.town.care.town()
    send, before = Sender(node), await contents(away.care)
    for form in stage:
        # Whoever joins there joins there, and a password is a person's, wherever they live.
        if form.template not in {"/sign-up", "/password/forgotten", "/password/new", "/sign-out", SEALED}:
            in_words(await send(form, host=away.host), 401, form.path)
    assert await contents(away.care) == before
