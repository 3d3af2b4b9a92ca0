"""A letter to a member as the mail server gets it: plain text first, the same as simple HTML, and the headers.

What stands in a letter is said elsewhere (web/pages/letters.py). Nothing that a person wrote can begin a header.
"""

import re
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import Policy
from email.utils import format_datetime
from typing import Final
from uuid import UUID

import msgspec

from care_collective.operations.smtp import address_of

_LONGEST_SUBJECT: Final = 150
_LONGEST_NAME: Final = 60
# Control characters, line breaks, and what turns the writing direction of all that follows.
_DISTURBING: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+")

# Of what mail programs make a link by themselves: a dot within a word, before a letter, and a scheme's colon.
_LINKING: Final = re.compile(r"(?<=\w)[.\u3002\uff0e\uff61](?=[^\W\d_])|:(?=//)")


class Item(msgspec.Struct, frozen=True):
    """One notification of a letter. `actor` is None for a former member and where nobody did it."""

    kind: str
    count: int
    at: datetime
    actor: str | None = None
    help_request_id: UUID | None = None
    title: str | None = None
    conversation_id: UUID | None = None


class Home(msgspec.Struct, frozen=True):
    """The community that a letter is from."""

    id: UUID
    slug: str
    name: str
    hosts: tuple[str, ...] = ()


class Delivery(msgspec.Struct, frozen=True):
    """What care.lease_deliveries answers of one letter. `kind`: notifications, digest or password_reset."""

    community: Home
    id: UUID
    user_id: UUID
    kind: str
    created_at: datetime
    address: str
    display_name: str
    locales: tuple[str | None, ...] = ()
    items: tuple[Item, ...] = ()
    password_set_at: datetime | None = None


class Words(msgspec.Struct, frozen=True):
    """What a letter says. `unsubscribe_url` where its member may end such letters by it."""

    subject: str
    text: str
    html: str
    unsubscribe_url: str | None = None


def written(delivery: Delivery, words: Words, *, host: str, now: datetime) -> EmailMessage:
    """The message of a delivery. A second one of the same delivery has the same Message-ID.

    Errors: ValueError for an address that no header can hold.
    """
    message = EmailMessage()
    name = one_line(delivery.community.name)[:_LONGEST_NAME]
    message["From"] = Address(display_name=name, username="care-collective", domain=host)
    message["To"] = address_of(delivery.address)
    message["Subject"] = one_line(words.subject)[:_LONGEST_SUBJECT]
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{delivery.id}@{host}>"
    message["Auto-Submitted"] = "auto-generated"
    if words.unsubscribe_url is not None:
        # One click for the mail program (RFC 8058); the same address is a page for who opens it.
        message["List-Unsubscribe"] = _Whole(f"<{words.unsubscribe_url}>")
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(words.text)
    message.add_alternative(words.html, subtype="html")
    return message


def one_line(text: str) -> str:
    """A text of somebody's for a line of ours: without breaks, control characters and turned writing directions."""
    return " ".join(_DISTURBING.sub(" ", text).split())


def unlinked(text: str) -> str:
    """A name or title on one line in which no mail program finds an address: all links in a letter are ours."""
    return _LINKING.sub(r"\g<0> ", one_line(text))


class _Whole(str):
    """The value of List-Unsubscribe in one piece: the library would put a long address into encoded words."""

    __slots__ = ()
    name = "List-Unsubscribe"

    def fold(self, *, policy: Policy) -> str:
        """The header as it goes out."""
        return f"{self.name}: {self}{policy.linesep}"
