"""What letters and pushes say to members, in the language of each: who did what about which request, where to answer.

Names and titles, never a message's words; a subject holds words of ours alone, for it shows on a locked screen.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from email.message import EmailMessage
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from care_collective.accounts import resets
from care_collective.notifications import unsubscribe
from care_collective.notifications.email import Delivery, Item, Words, one_line, unlinked, written
from care_collective.notifications.push import Notice
from care_collective.operations.smtp import mail_host
from care_collective.web.pages.environments import ENVIRONMENTS
from care_collective.web.pages.language import Language, choose
from care_collective.web.pages.language import mark as _

# The first that fits, of all that a letter tells.
_SUBJECTS: Final = {
    "offer.received": _("Somebody offers to help you"),
    "offer.unanswered": _("An offer waits for your answer"),
    "offer.accepted": _("Your offer was accepted"),
    "membership.waiting": _("Somebody would like to join"),
    "membership.approved": _("You are a member now"),
}
# Where it tells of this alone.
_OF_ONE: Final = {
    "offer.declined": _("Your offer was answered"),
    "offer.replaced": _("Somebody else helps now"),
    "helper.stepped_back": _("Your helper had to step back"),
    "helper.released": _("Your help is no longer needed"),
    "conversation.closed": _("A conversation was ended"),
    "conversation.reopened": _("A conversation is open again"),
    "request.completed": _("A request is done"),
    "request.cancelled": _("Help is no longer needed"),
    "request.reopened": _("A request is open again"),
    "request.expired": _("A request was closed"),
    "membership.rejected": _("Your application was decided"),
}
_NEWS: Final = _("There is news for you")
_DAILY: Final = _("What waits for you today")
# What somebody waits for an answer to. What ended a conversation takes none.
_ANSWERED: Final = frozenset(
    {"offer.received", "offer.unanswered", "offer.accepted", "message.received", "conversation.reopened"}
)
_PASSWORD: Final = _("A new password")
_LONGEST_SHOWN: Final = 100


def composer(base_url: str, secret_key: str, now: Callable[[], datetime]) -> Callable[[Delivery], EmailMessage]:
    """What makes the message of a delivery, for a deployment at `base_url`."""
    host = mail_host(base_url)

    def compose(delivery: Delivery) -> EmailMessage:
        at = now()
        return written(
            delivery, words_of(delivery, base_url=base_url, secret_key=secret_key, now=at), host=host, now=at
        )

    return compose


def words_of(delivery: Delivery, *, base_url: str, secret_key: str, now: datetime) -> Words:
    """What a letter says in its member's language. `secret_key` signs the links that need no signing in."""
    language = choose(*delivery.locales)
    site = site_of(base_url, delivery.community.hosts)
    shown: dict[str, Any] = {
        "name": unlinked(delivery.display_name),
        "community": one_line(delivery.community.name),
        "site": site,
    }
    if delivery.kind == "password_reset":
        assert delivery.password_set_at is not None  # care.letter drops one without
        token = resets.reset_token(secret_key, user_id=delivery.user_id, set_at=delivery.password_set_at, now=now)
        shown["link"] = f"{site}/password/new?token={token}"
        return _rendered("password_reset", language, language.say(_PASSWORD), shown)
    seal = unsubscribe.sealed(secret_key, delivery.community.id, delivery.user_id)
    unsubscribe_url = f"{site}/unsubscribe?m={seal}"
    subject = language.say(_DAILY) if delivery.kind == "digest" else _subject(language, delivery.items)
    shown |= {"entries": _entries(site, delivery.items), "unsubscribe_url": unsubscribe_url}
    return _rendered("news", language, subject, shown, unsubscribe_url)


def site_of(base_url: str, hosts: Sequence[str]) -> str:
    """Where a community's pages are: its own host in the place of the deployment's, if that is not one of its own."""
    parts = urlsplit(base_url)
    if not hosts or parts.hostname in hosts:
        return base_url
    return f"{parts.scheme}://{hosts[0]}" + (f":{parts.port}" if parts.port else "")


def notice_of(delivery: Delivery) -> Notice:
    """What a push says in its member's language, on a locked screen as well: who did what, no message's words."""
    language = choose(*delivery.locales)
    community = one_line(delivery.community.name)[:_LONGEST_SHOWN]
    entries = _entries("", [_shortened(item) for item in delivery.items])
    (path, told) = (entries[-1]["link"], entries[-1]["told"]) if len(entries) == 1 else ("/notifications", [])
    body = _subject(language, delivery.items)
    if told:
        template = ENVIRONMENTS[language.code].get_template("letters/notice.txt")
        body = one_line(template.render({"told": told, "community": community}))
    return Notice(title=community, body=body, path=path, tag=path, lang=language.code)


def _shortened(item: Item) -> Item:
    # A push service takes 4 KB.
    actor, title = (text and one_line(text)[:_LONGEST_SHOWN] for text in (item.actor, item.title))
    return msgspec.structs.replace(item, actor=actor, title=title)


def _rendered(
    name: str, language: Language, subject: str, shown: dict[str, Any], unsubscribe_url: str | None = None
) -> Words:
    templates = ENVIRONMENTS[language.code]
    text, html = (templates.get_template(f"letters/{name}.{form}").render(shown) for form in ("txt", "html"))
    return Words(subject, text, html, unsubscribe_url)


def _subject(language: Language, items: Sequence[Item]) -> str:
    kinds = {item.kind for item in items}
    if kinds == {"message.received"}:
        count = sum(item.count for item in items)
        said = language.catalogue.ngettext("You have a new message", "You have %(count)s new messages", count)
        return said % {"count": count}
    otherwise = _OF_ONE.get(items[0].kind, _NEWS) if len(items) == 1 else _NEWS
    return language.say(next((words for kind, words in _SUBJECTS.items() if kind in kinds), otherwise))


def _entries(site: str, items: Sequence[Item]) -> list[dict[str, Any]]:
    """What there is to tell, by where it leads: one link for all that is behind it."""
    found: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        shown = {
            "kind": item.kind,
            "count": item.count,
            "actor": unlinked(item.actor) if item.actor else None,
            "title": unlinked(item.title) if item.title else None,
        }
        found.setdefault(site + _path(item), []).append(shown)
    return [
        {
            "link": link,
            "told": told,
            "answers": told[-1]["kind"] in _ANSWERED,
            "joined": any(item["kind"] == "membership.approved" for item in told),
        }
        for link, told in found.items()
    ]


def _path(item: Item) -> str:
    if item.conversation_id is not None:
        return f"/messages/{item.conversation_id}"
    if item.help_request_id is not None:
        return f"/requests/{item.help_request_id}"
    return {"membership.waiting": "/coordinator/approvals", "membership.rejected": "/account"}.get(item.kind, "/")
