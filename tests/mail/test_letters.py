"""What stands in a letter: plain text first, in the member's language, and nothing that others wrote in its headers."""

import re
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import get_args
from uuid import UUID, uuid4

import pytest

from care_collective.accounts import resets
from care_collective.notifications import unsubscribe
from care_collective.notifications.email import Delivery, Home, Item, Words, written
from care_collective.notifications.told import Kind
from care_collective.web.pages.letters import composer, site_of, words_of
from database.letters import NOON
from harness import FIRST_WORDS
from mail.conftest import Post
from mail_harness import mail_server

KEY = "a secret key for tests, of 32 bytes"
SITE = "https://care.example"
REQUEST, CONVERSATION = uuid4(), uuid4()
# A header of one's own, in every way that a line can end; and what turns what follows it around.
SPITEFUL = "Ann\r\nBcc: all@example.org\n\nX: y\x85Z\u2028W\u202e<script>alert(1)</script>"


def item(kind: str = "message.received", **more: object) -> Item:
    known = {"count": 1, "at": NOON, "actor": "Bob", "title": "Groceries", "help_request_id": REQUEST}
    return Item(kind=kind, **{**known, "conversation_id": CONVERSATION, **more})  # type: ignore[arg-type]


def delivery(*items: Item, kind: str = "notifications", locale: str | None = None, name: str = "Ann") -> Delivery:
    home = Home(UUID(int=1), "linden", "Linden Row", ("linden.example",))
    found = (locale, "en")
    return Delivery(home, UUID(int=2), UUID(int=3), kind, NOON, "ann@example.org", name, found, items, NOON)


def sent(one: Delivery) -> EmailMessage:
    """A letter as it arrives."""
    message = composer(SITE, KEY, lambda: NOON)(one)
    return message_from_bytes(message.as_bytes(policy=policy.SMTP), policy=policy.default)


def plain(message: EmailMessage) -> str:
    part = message.get_body(("plain",))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def html(message: EmailMessage) -> str:
    part = message.get_body(("html",))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def test_a_letter_has_its_headers_and_plain_text_first() -> None:
    message = sent(delivery(item("offer.received"), item(count=2)))
    assert {name: message[name] for name in ("From", "To", "Subject", "Message-ID", "Auto-Submitted", "Date")} == {
        "From": "Linden Row <care-collective@care.example>", "To": "ann@example.org",
        "Subject": "Somebody offers to help you", "Message-ID": f"<{UUID(int=2)}@care.example>",
        "Auto-Submitted": "auto-generated", "Date": "Tue, 10 Jun 2031 12:00:00 +0000",
    }  # fmt: skip
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    text = plain(message)
    assert text.startswith("Hello Ann,\n\nBob offers to help you with “Groceries”.\nBob wrote you 2 messages about")
    assert text.count(f"https://linden.example/messages/{CONVERSATION}\n") == 1
    assert "https://linden.example/settings\n" in text
    assert f'<a href="https://linden.example/messages/{CONVERSATION}">' in html(message)
    assert not re.search(r"<(img|link|script|style|iframe)|\bsrc=|url\(", html(message))


def test_the_address_that_ends_letters_stands_whole_in_a_header_and_names_its_member() -> None:
    raw = composer(SITE, KEY, lambda: NOON)(delivery(item())).as_bytes(policy=policy.SMTP).decode()
    (url,) = re.findall(r"^List-Unsubscribe: <(https://linden\.example/unsubscribe\?m=[\w=-]+)>\r$", raw, re.MULTILINE)
    assert "\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in raw
    assert url in plain(sent(delivery(item())))
    token = url.partition("=")[2]
    assert unsubscribe.opened(KEY, token) == (UUID(int=1), UUID(int=3))
    assert unsubscribe.opened(KEY + "!", token) is None
    turned = token[:-1] + ("A" if token[-1] != "A" else "B")
    for forged in ("", "x", turned, token[:-4], token + "AAAA", token + "\n", "é" * 64, "=" * 64):
        assert unsubscribe.opened(KEY, forged) is None


@pytest.mark.parametrize("locale", ["en", "es-MX"])
def test_every_kind_is_said_in_both_languages_with_where_it_leads(locale: str) -> None:
    said = {}
    for kind in (*get_args(Kind), "a.later_kind"):
        words = words_of(delivery(item(kind), locale=locale), base_url=SITE, secret_key=KEY, now=NOON)
        said[kind] = words.text.split("\n")[2]
        assert (words.subject in ("There is news for you", "Hay novedades para ti")) == (kind == "a.later_kind")
        assert f"https://linden.example/messages/{CONVERSATION}" in words.text
        assert said[kind].count("{") == 0
    assert len(set(said.values())) == len(said)
    assert ("Groceries" in said["a.later_kind"], "Bob" in said["message.received"]) == (True, True)
    former = words_of(delivery(item(actor=None), locale=locale), base_url=SITE, secret_key=KEY, now=NOON)
    assert ("A former member wrote" if locale == "en" else "Alguien que ya no es miembro te ha escrito") in former.text
    nothing = words_of(delivery(item(title=None), locale=locale), base_url=SITE, secret_key=KEY, now=NOON)
    assert ("something new" if locale == "en" else "algo nuevo") in nothing.text


def test_a_new_member_is_asked_for_no_answer_and_led_to_a_first_password() -> None:
    welcome = sent(delivery(item("membership.approved", conversation_id=None, help_request_id=None, title=None)))
    for text in (plain(welcome), html(welcome)):
        assert "https://linden.example/password/forgotten" in text
        assert "answer here" not in text
    assert "Look here:\nhttps://linden.example/\n\nIf you have no password yet, choose one" in plain(welcome)
    assert "Look here</a>" in html(welcome)
    assert "/password/forgotten" not in plain(sent(delivery(item())))
    # An ended conversation takes no answer, whatever came before its end; one that was opened again does.
    kinds = ("message.received", "conversation.closed", "conversation.reopened")
    for count, words in ((1, "Look and answer here:"), (2, "Look here:"), (3, "Look and answer here:")):
        assert words in plain(sent(delivery(*(item(kind) for kind in kinds[:count]))))


def test_a_digest_lists_everything_by_where_it_leads() -> None:
    other = uuid4()
    letter = delivery(
        item(), item("offer.accepted", conversation_id=other), item("conversation.closed"),
        item("membership.waiting", conversation_id=None, help_request_id=None, title=None),
        item("request.expired", conversation_id=None), kind="digest", locale="es",
    )  # fmt: skip
    message = sent(letter)
    assert message["Subject"] == "Lo que te espera hoy"
    links = re.findall(r"https://linden\.example/(\S+)\n", plain(message))
    assert links[:4] == [
        f"messages/{CONVERSATION}", f"messages/{other}", "coordinator/approvals", f"requests/{REQUEST}",
    ]  # fmt: skip
    assert plain(message).startswith("Hola, Ann:\n")


@pytest.mark.parametrize("place", ["name", "actor", "title", "community"])
def test_what_people_wrote_begins_no_header_and_no_element(place: str) -> None:
    one = delivery(item(**({place: SPITEFUL} if place in ("actor", "title") else {})))
    if place == "name":
        one = delivery(item(), name=SPITEFUL)
    elif place == "community":
        one = Delivery(Home(UUID(int=1), "linden", SPITEFUL), one.id, one.user_id, one.kind, NOON, one.address, "Ann",
                       ("en",), one.items)  # fmt: skip
    message = sent(one)
    assert set(message.keys()) == {
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "List-Unsubscribe", "List-Unsubscribe-Post",
        "MIME-Version", "Content-Type",
    }  # fmt: skip
    assert message["Subject"] == "You have a new message"
    assert "<script>" not in html(message)
    assert ("&lt;script&gt;" in html(message), "&amp;lt;" in html(message)) == (True, False)
    assert "\nBcc" not in plain(message)
    assert not re.search("[\u202e\u2028\x85]", plain(message) + html(message))


def test_no_name_and_no_title_is_a_link_and_none_is_sent_to_who_never_joined() -> None:
    lure = "Prize: https://evil.example/a www.evil.example 7.evil.com http://10.0.0.1/ me@evil.example at 10.30"
    told = words_of(delivery(item(actor=lure, title=lure), name=lure), base_url=SITE, secret_key=KEY, now=NOON)
    for form in (told.text, told.html):
        foreign = re.sub(r"https://linden\.example/\S+", "", form)
        assert foreign.count("10.30") == 3
        assert not re.search(r"://|\w\.[a-z]", foreign)
    reset = words_of(delivery(kind="password_reset", name="Call 0900"), base_url=SITE, secret_key=KEY, now=NOON)
    assert "0900" not in reset.text + reset.html


def test_an_address_that_no_header_can_hold_is_refused() -> None:
    for address in ("a@b\r\nBcc: c@d", "a\r\nBcc: c@d", "a@b c", "@", ""):
        one = delivery(item())
        spoilt = Delivery(one.community, one.id, one.user_id, one.kind, NOON, address, "Ann", ("en",), one.items)
        with pytest.raises((ValueError, IndexError)):
            written(spoilt, Words("News", "News", "News"), host="care.example", now=NOON)


def test_links_lead_to_the_communitys_own_host() -> None:
    assert site_of("http://127.0.0.1:8000", ()) == "http://127.0.0.1:8000"
    assert site_of("https://care.example", ("a.example", "care.example")) == "https://care.example"
    assert site_of("https://care.example", ("a.example", "b.example")) == "https://a.example"
    assert site_of("http://care.example:8080", ("a.example",)) == "http://a.example:8080"


async def test_an_offer_and_a_message_make_one_letter_without_their_words(post: Post) -> None:
    ann, address = await post.member("Ann")
    bob = await post.town.member("Bob")
    opened = await bob.offer_v2(await post.town.request(ann, title="A lift to the clinic"))
    await bob.send(opened["conversation_id"], "I forgot to say: my car is small.")
    at = await post.town.care.owner.fetchval("select clock_timestamp()")
    async with mail_server() as (url, box):
        post.now = at + timedelta(seconds=50)
        await post.mailer(url).work()
        assert box.taken == []
        post.now = at + timedelta(seconds=61)
        await post.mailer(url).work()
    ((recipients, message),) = box.taken
    assert recipients == [address]
    text = plain(message)
    assert "Bob offers to help you with “A lift to the clinic”." in text
    assert "Bob wrote" in text
    for words in ("forgot", "small", FIRST_WORDS[:12]):
        assert words not in message.as_string()


async def test_a_letter_for_a_new_password_has_a_link_that_holds_and_no_other(post: Post) -> None:
    ann, address = await post.member("Ann")
    await post.town.care.owner.execute(
        "insert into care.credentials (user_id, kind, secret) values ($1, 'password', 'a hash')", ann.user_id
    )
    set_at = await post.town.care.owner.fetchval(
        "select updated_at from care.credentials where user_id = $1", ann.user_id
    )
    ask = post.town.care.database.value
    for _ in range(2):
        await ask("care.ask_password_reset", p_community_id=post.town.community_id, p_email=address)
    async with mail_server() as (url, box):
        await post.mailer(url).work()
    ((_, message),) = box.taken
    assert message["Subject"] == "A new password"
    assert message["List-Unsubscribe"] is None
    (token,) = re.findall(r"/password/new\?token=(\S+)\n", plain(message))
    claim = resets.read(token)
    assert claim is not None
    assert claim.user_id == ann.user_id
    assert resets.is_signed(KEY, claim, set_at=set_at, now=post.now)
