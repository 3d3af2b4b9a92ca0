"""Messages as pages: the list, the thread, what the two decide, and words that are never lost."""

from uuid import UUID, uuid4

import msgspec
import pytest

from care_collective.db.call import Answer, Caller, Database
from care_collective.errors import CareError, Code
from care_collective.web.services import Services
from harness import FIRST_WORDS, Person, Town
from web.pages import Sheet, is_foreign, led, opened, refused, sent, visitor
from web_harness import PASSWORD, MakeClient, approve, browser, fresh_email, joined, start

# What people paste: code, a text that turns what follows it around, and one without an end.
HOSTILE = ("<script>alert(1)</script>", "<b onclick='x'>bold</b>", "\u202edrow desrever", "w" * 900)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """Pages know no engine: one is enough where the list and the thread are not what is tested."""
    return str(getattr(request, "param", "v2"))


class Talk(msgspec.Struct, frozen=True):
    """A conversation of two people, opened in the engine of the node."""

    owner: Person
    helper: Person
    request: UUID
    path: str


@pytest.fixture
async def talk(town: Town, client: MakeClient) -> Talk:
    owner, helper = await town.member("Olga"), await town.member("Hal")
    request = await town.request(owner)
    opened_ = await client(helper).post(start(request), json={"initial_message": FIRST_WORDS})
    return Talk(owner, helper, request, f"/messages/{opened_.json()['conversation_id']}")


@pytest.mark.parametrize("engine", ["v1", "v2"], indirect=True)
async def test_two_people_write_and_read_and_the_reader_is_marked(services: Services, talk: Talk) -> None:
    async with await visitor(services, talk.owner) as owner, await visitor(services, talk.helper) as helper:
        inbox = await opened(owner, "/messages?filter=unread")
        for words in ("Hal", "Groceries on Friday", "Open", FIRST_WORDS, "1 new"):
            assert words in inbox.said
        assert "Messages 1 new" in inbox.said
        await owner.get(talk.path, headers={"sec-purpose": "prefetch"})
        assert "Messages 1 new" in (await opened(owner, "/account")).said
        page = await opened(owner, talk.path)
        assert "1 new" not in page.said
        for words in (FIRST_WORDS, "Today", "Hal", "New", "Up to 1000 characters"):
            assert words in page.said
        assert "You have read everything." in (await opened(owner, "/messages?filter=unread")).said
        form = page.form(talk.path)
        for _ in range(2):  # the second tap writes nothing
            assert await led(owner, form, content="Thank you!\r\nFriday is fine.") == talk.path
        page = await opened(owner, talk.path)
        assert page.said.count("Friday is fine.") == 2  # the message, and the last line beside it
        assert "· Sent" in page.said
        await opened(helper, talk.path)
        assert "· Read" in (await opened(owner, talk.path)).said


async def test_hostile_words_are_shown_as_words(services: Services, talk: Talk) -> None:
    async with await visitor(services, talk.owner) as owner, await visitor(services, talk.helper) as helper:
        for words in HOSTILE:
            await led(owner, (await opened(owner, talk.path)).form(talk.path), content=words)
        for client in (owner, helper):
            page = await opened(client, talk.path)
            assert all(words in page.said for words in HOSTILE)
            assert not [tag for tag, found in page.tags if is_foreign(tag, found) or "onclick" in found]
        form = (await opened(owner, talk.path)).form(talk.path)
        for words in ("x" * 10_000, "\0", "\u200b", "\ud83d\ude42" * 600 + "y" * 10_000):
            typed = words.encode("utf-16", "surrogatepass").decode("utf-16")
            page = await refused(owner, form, 400, content=typed)
            assert page.form(talk.path).fields["content"] == typed


async def test_a_text_that_turns_around_turns_nothing_else(services: Services, town: Town, talk: Talk) -> None:
    for statement in (
        "update public.profiles set display_name = U&'\\202Eevila', town = U&'\\202Eyraid' where community_id = $1",
        "update public.help_requests set title = U&'\\202Eelit a' where community_id = $1",
        "update public.help_requests set description = title, exchange_offer = title where community_id = $1",
    ):
        await town.care.owner.execute(statement, town.community_id)
    await talk.helper.send(talk.path.rpartition("/")[2], "\u202esdrow")
    request = f"/requests/{talk.request}"
    for person, paths in (
        (talk.owner, ["/", "/account", "/requests/mine", request, f"{request}/edit", "/messages", talk.path]),
        (talk.helper, ["/requests", request, "/messages", talk.path]),
        (await town.member("\u202eeve"), [request]),
    ):
        async with await visitor(services, person) as client:
            for path in paths:
                page = await opened(client, path)
                assert "\u202e" in page.said or path.endswith("edit"), path
                assert page.loose == [], path


async def test_an_offer_is_accepted_given_back_released_and_completed(services: Services, talk: Talk) -> None:
    async with await visitor(services, talk.owner) as owner, await visitor(services, talk.helper) as helper:
        page = await opened(helper, talk.path)
        assert not any(page.offers(verb) for verb in ("/accept", "/decline", "/release", "/step-back"))
        form = page.form("/close")
        form.action = f"{talk.path}/accept"
        assert "Only the person this belongs to" in (await refused(helper, form, 403)).said

        page = await opened(owner, talk.path)
        page = await opened(owner, await led(owner, page.form("/accept")))
        assert "You have accepted this offer" in page.said
        assert not page.offers("/accept")
        assert "You are helping" in (await opened(helper, talk.path)).said
        page = await opened(helper, await led(helper, (await opened(helper, talk.path)).form("/step-back")))
        assert "You have given the request back" in page.said

        await led(owner, (await opened(owner, talk.path)).form("/accept"))
        page = await opened(owner, await led(owner, (await opened(owner, talk.path)).form("/release")))
        assert "The request is open again" in page.said
        await led(owner, page.form("/accept"))
        place = await led(owner, (await opened(owner, talk.path)).form("/complete"))
        assert "Marked as done" in (await opened(owner, place)).said


async def test_an_offer_is_declined_and_a_conversation_ended_and_opened_again(services: Services, talk: Talk) -> None:
    async with await visitor(services, talk.owner) as owner, await visitor(services, talk.helper) as helper:
        stale = (await opened(helper, talk.path)).form(talk.path)
        form = (await opened(owner, talk.path)).form("/decline")
        page = await refused(owner, form, 400, reason="x" * 501)
        assert page.form("/decline").fields["reason"] == "x" * 501
        await led(owner, form, reason="My sister <i>comes</i>.")
        page = await opened(helper, talk.path)
        for words in ("Your offer was declined this time", "My sister <i>comes</i>.", "Declined"):
            assert words in page.said
        assert not page.offers(talk.path)
        assert not page.offers("/reopen")
        page = await refused(helper, stale, 403, content="But I have the bag already!")
        assert "This conversation takes no new messages" in page.said
        assert "But I have the bag already!" in page.said
        await led(owner, (await opened(owner, talk.path)).form("/reopen"))
        place = await led(helper, (await opened(helper, talk.path)).form("/close"))
        page = await opened(helper, place)
        assert "You have ended this conversation" in page.said
        assert "This conversation has ended" in (await opened(owner, talk.path)).said
        await led(helper, page.form("/reopen"))
        assert (await opened(owner, talk.path)).offers(talk.path)
        assert (await owner.get(f"{talk.path}/accept")).headers["location"] == talk.path


async def test_a_thread_of_others_is_not_there(services: Services, town: Town, talk: Talk) -> None:
    stranger = await town.member("Sam")
    async with await visitor(services, stranger) as client, await visitor(services, talk.owner) as owner:
        for path in (talk.path, f"/messages/{uuid4()}"):
            assert "We could not find this." in (await opened(client, path, 404)).said
        form = (await opened(owner, talk.path)).form(talk.path)
        answer = await client.get("/account")
        form.fields["csrf_token"] = Sheet(answer.text).form("/sign-out").fields["csrf_token"]
        # In a browser that two people use, the form of one is not sent, nor its words shown, to the other.
        page = await refused(client, form, 403, content="Let me in.")
        assert "Somebody else has signed in here" in page.said
        assert "Let me in." not in page.said
        form.fields["key"] = "of nobody"
        page = await refused(client, form, 403, content="Let me in.")
        assert "not one of your conversations" in page.said
        assert (await client.get("/messages/nonsense")).status_code == 404
    assert await town.count("care.thread_messages", "seq > 0") == 0


async def test_a_forged_form_writes_nothing(services: Services, town: Town, talk: Talk) -> None:
    async with await visitor(services, talk.owner) as owner, await visitor(services, talk.helper) as helper:
        form = (await opened(owner, talk.path)).form(talk.path)
        foreign = (await opened(helper, talk.path)).form(talk.path).fields["csrf_token"]
        for token in ("", "wrong", foreign, form.fields["csrf_token"].upper()):
            page = await refused(owner, form, 403, content="Words to keep.", csrf_token=token)
            assert "Your text is kept" in page.said
            assert page.form(talk.path).fields["content"] == "Words to keep."
        evil = {"origin": "https://evil.example"}
        answer = await owner.post(form.action, data={**form.fields, "content": "Words to drop."}, headers=evil)
        assert answer.status_code == 403
        assert "Words to drop." not in answer.text
        assert await town.count("care.thread_messages", "seq > 0") == 0
        await led(owner, page.form(talk.path))
        assert await town.count("care.thread_messages", "seq > 0") == 1


async def test_words_typed_while_the_session_ended_are_kept_until_they_are_sent(
    services: Services, town: Town, talk: Talk
) -> None:
    email = fresh_email()
    async with browser(services, town) as client:
        mine = await joined(client, email)
        await approve(town, mine["user_id"])
        page = await opened(client, f"/requests/{talk.request}")
        form = page.form("/offer")
        await town.care.owner.execute("delete from care.sessions where user_id = $1", UUID(mine["user_id"]))
        words = 'I can <b>come</b> on "Friday".\nAt ten?'
        answer = await sent(client, form, initial_message=words)
        assert answer.status_code == 401
        page = Sheet(answer.text)
        assert "Your text is kept" in page.said
        answer = await sent(client, page.form("/sign-in"), email=email, password="not the password")
        page = Sheet(answer.text)
        other = fresh_email()
        async with browser(services, town) as another:
            await joined(another, other)
            answer = await sent(another, page.form("/sign-in"), email=other, password=PASSWORD)
            assert (answer.status_code, answer.headers["location"]) == (303, "/")  # and never sees the words
        answer = await sent(client, page.form("/sign-in"), email=email, password=PASSWORD)
        assert answer.status_code == 200
        kept = Sheet(answer.text).form("/offer")
        assert kept.fields["initial_message"] == words
        assert kept.fields["key"] == form.fields["key"]  # written already, and only its answer lost: not twice
        place = await led(client, kept)
        assert words.splitlines()[0] in (await opened(client, place)).said
        # A verb has no words to keep: it leads back to where it stands.
        form = (await opened(client, place)).form("/close")
        client.cookies.clear()
        page = Sheet((await sent(client, form)).text)
        assert page.form("/sign-in").fields["next"] == place.partition("?")[0]
        # Who was changing a request comes back to that change, with all that was chosen in it.
        asked = await town.request(Person(town, UUID(mine["user_id"]), "Nia"))
        signed_in = await sent(client, page.form("/sign-in"), email=email, password=PASSWORD)
        assert signed_in.status_code == 303
        form = (await opened(client, f"/requests/{asked}/edit")).form("/edit")
        client.cookies.clear()
        ended = Sheet((await sent(client, form, title="Another title", urgency="urgent")).text)
        kept = Sheet((await sent(client, ended.form("/sign-in"), email=email, password=PASSWORD)).text).form("/edit")
        assert (kept.fields["title"], kept.fields["urgency"]) == ("Another title", "urgent")
        assert await led(client, kept) == f"/requests/{asked}?done=changed"
        # What was carried along is read as words or not at all.
        for carried in ("[1]", "{", '{"content": 1}', '{"content": "\\u0000"}'):
            typed = {"email": email, "password": PASSWORD, "kept_form": carried}
            assert (await sent(client, page.form("/sign-in"), **typed)).status_code in {200, 303}


async def test_words_are_kept_while_the_database_is_away(
    services: Services, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await visitor(services, talk.owner) as owner:
        form = (await opened(owner, talk.path)).form(talk.path)

        async def away(*_: object, **__: object) -> Answer:
            raise CareError(Code.UNAVAILABLE, retry_after=1)

        with monkeypatch.context() as patch:
            for name in ("call", "value"):
                patch.setattr(Database, name, away)
            answer = await sent(owner, form, content="Words to keep.")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        page = Sheet(answer.text)
        assert "What you wrote is still here" in page.said
        shown = page.form(talk.path).fields
        assert shown == {name: form.fields[name] for name in shown} | {"content": "Words to keep."}
        assert shown.keys() >= {"key", "csrf_token"}

        real = Database.call

        async def lost(self: Database, function: str, caller: Caller, /, **arguments: object) -> Answer:
            answer = await real(self, function, caller, **arguments)
            if function == "public.send_message_v2":
                raise CareError(Code.UNAVAILABLE, retry_after=1)  # it was written, and the answer was lost
            return answer

        with monkeypatch.context() as patch:
            patch.setattr(Database, "call", lost)
            page = await refused(owner, form, 503, content="Words to keep.")
        again = page.form(talk.path)
        assert again.fields["key"] == form.fields["key"]
        await led(owner, again)
        assert (await opened(owner, talk.path)).said.count("Words to keep.") == 2  # the message, and the last line


@pytest.mark.parametrize("engine", ["v1", "v2"], indirect=True)
async def test_a_long_thread_is_read_page_by_page_and_by_day(services: Services, town: Town, talk: Talk) -> None:
    conversation = UUID(talk.path.rpartition("/")[2])
    table = "messages" if await town.count("public.messages") else "messages_v2"
    parent = "conversations" if table == "messages" else "conversations_v2"
    await town.care.owner.execute(
        f"insert into public.{table} "
        "(community_id, conversation_id, seq, sender_id, recipient_id, content, created_at) "
        "select $1, $2, n, $3, $4, 'Line ' || n || '.', now() - (120 - n) * interval '1 hour' "
        "from generate_series(1, 120) n",
        *(town.community_id, conversation, talk.helper.user_id, talk.owner.user_id),
    )
    await town.care.owner.execute(f"update public.{parent} set last_seq = 120 where id = $1", conversation)
    async with await visitor(services, talk.owner) as owner:
        page = await opened(owner, talk.path)
        assert "Line 120." in page.said
        assert "Line 70." not in page.said
        assert "Yesterday" in page.said
        older = await opened(owner, f"{talk.path}?before=71")
        assert "Line 70." in older.said
        assert "Line 71." not in older.said
        assert "Newer messages" in older.said
        assert FIRST_WORDS in (await opened(owner, f"{talk.path}?before=21")).said
        assert "Line 71." in (await opened(owner, f"{talk.path}?after=70")).said
        for odd in ("?before=x", "?before=99999999999", "?after=-5", "?before=%00"):
            assert "Line 120." in (await opened(owner, talk.path + odd)).said


@pytest.mark.parametrize(
    ("restriction", "status", "words"),
    [("suspended", 403, "you can read, but not write"), ("limited", 303, "Send"), ("banned", 403, None)],
)
async def test_a_restriction_is_told_in_the_thread(
    services: Services, town: Town, talk: Talk, restriction: str, status: int, words: str | None
) -> None:
    async with await visitor(services, talk.owner) as owner:
        form = (await opened(owner, talk.path)).form(talk.path)
        await town.restrict(talk.owner, restriction)
        assert (await sent(owner, form, content="Thank you.")).status_code == status
        if words is None:
            assert "Sent adverts" in (await opened(owner, talk.path, 403)).said
        else:
            assert words in (await opened(owner, talk.path)).said


async def test_a_member_who_is_gone_and_a_hidden_message_leave_their_place(
    services: Services, town: Town, talk: Talk
) -> None:
    await talk.helper.send(talk.path.rpartition("/")[2], "Something bad.")
    for statement in (
        "update public.profiles set deleted_at = now() where community_id = $1 and display_name = 'Hal'",
        "update public.messages set hidden_at = now() where community_id = $1 and seq = 1",
        "update public.messages_v2 set hidden_at = now() where community_id = $1 and seq = 1",
    ):
        await town.care.owner.execute(statement, town.community_id)
    async with await visitor(services, talk.owner) as owner:
        for path in (talk.path, "/messages"):
            page = await opened(owner, path)
            assert "Former member" in page.said
            assert "Something bad." not in page.said
            assert "This message was hidden by a coordinator." in page.said


@pytest.mark.parametrize("engine", ["v1", "v2"], indirect=True)
async def test_operators_see_the_version_of_a_thread_and_members_never_do(
    services: Services, town: Town, talk: Talk, engine: str
) -> None:
    async with await visitor(services, talk.owner) as client:
        assert engine.upper() not in (await opened(client, talk.path)).said
        await town.care.owner.execute(
            "insert into care.operators (user_id, granted_by) values ($1, 'test')", talk.owner.user_id
        )
        assert f"For operators: {engine.upper()}" in (await opened(client, talk.path)).said
