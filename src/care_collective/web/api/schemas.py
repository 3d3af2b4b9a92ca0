"""The shapes of answers that more than one room of the API gives, and what a handler declares of its answers.

What one room alone answers stands in that room. Handlers pass the functions' JSON on as it comes.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter

from care_collective import text
from care_collective.errors import STATUS, Code
from care_collective.requests.service import Category, Status, Urgency

# The largest seq there can be: past it a number is no place in a thread, and no integer of the database's.
LAST_SEQ: Final = 2**31 - 1
Limit = Annotated[int, QueryParameter(ge=1, le=50, description="How many, 1 to 50")]
LongLimit = Annotated[int, QueryParameter(ge=1, le=100, description="How many, 1 to 100")]
Cursor = Annotated[
    str | None,
    QueryParameter(
        schema_extra={"pattern": r"^[0-9]{1,16}\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"},
        description="The next_cursor of the page before",
    ),
]
Search = Annotated[
    str | None,
    QueryParameter(schema_extra={"maxLength": text.SEARCH.maximum}, description="Words to look for, to 100 characters"),
]
Place = Annotated[int | None, QueryParameter(ge=-1, le=LAST_SEQ, description="A seq")]


Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Standing = Literal["active", "held", "declined", "closed"]


class Error(msgspec.Struct, frozen=True):
    """Every refusal and fault: words for a person, a code for a program, a reference to quote."""

    error: str
    code: Code
    request_id: str
    reason: str | None = None
    fields: dict[str, str] | None = None
    conversation_id: UUID | None = None
    status: Standing | Status | None = None
    help_request_status: Status | None = None
    retry_after: int | None = None
    restriction: Literal["limited", "suspended", "banned"] | None = None
    until: Moment | None = None
    why: str | None = None


class Reason(msgspec.Struct, frozen=True):
    """Why, in up to 500 characters that others read; may be left out."""

    reason: Annotated[str | None, text.REASON.described] = None


class Done(msgspec.Struct, frozen=True):
    """A change that was made."""

    success: Literal[True]
    status: Standing | None = None


class Person(msgspec.Struct, frozen=True):
    """Another member, as members see each other."""

    user_id: UUID
    display_name: str
    town: str | None
    deleted: bool


class Message(msgspec.Struct, frozen=True):
    """One message; the first of a thread is seq 0. `content` is null when it has been hidden."""

    id: UUID
    seq: int
    sender_id: UUID
    content: str | None
    created_at: Moment
    updated_at: Moment


class RequestSummary(msgspec.Struct, frozen=True):
    """The request a conversation is about; `accepted`: its helper is the one of this conversation."""

    id: UUID
    title: str
    status: Status
    accepted: bool


class Conversation(msgspec.Struct, frozen=True):
    """A conversation, as one of its two people sees it."""

    id: UUID
    version: Literal["v1", "v2"]
    role: Literal["helper", "requester"]
    help_request: RequestSummary
    other: Person
    status: Standing
    may_reopen: bool
    blocked_by_me: bool
    decline_reason: str | None
    last_message: Message
    last_seq: int
    last_read_seq: int
    other_last_read_seq: int
    unread: int
    muted_until: Moment | None
    archived: bool
    last_activity_at: Moment
    created_at: Moment


class ConversationPage(msgspec.Struct, frozen=True):
    """A page of conversations; `next_cursor` is null at the end."""

    success: Literal[True]
    conversations: list[Conversation]
    next_cursor: str | None


class MessagePage(msgspec.Struct, frozen=True):
    """A page of a thread, oldest first."""

    success: Literal[True]
    conversation: Conversation
    messages: list[Message]
    has_more: bool


class Unread(msgspec.Struct, frozen=True):
    """How many conversations, up to 100, hold how many unread messages, and how many notifications, up to 100, are
    unread."""

    conversations: int
    messages: int
    notifications: int


class LiveState(msgspec.Struct, frozen=True):
    """The present state, as a live stream tells it: what is unread, and inbox rows that are new or changed."""

    unread: Unread
    conversations: list[Conversation]


class Started(msgspec.Struct, frozen=True):
    """A conversation that an offer opened."""

    success: Literal[True]
    conversation_id: UUID
    help_request_id: UUID
    version: Literal["v1", "v2"]
    message: str


class Sent(msgspec.Struct, frozen=True):
    """A message that was written."""

    success: Literal[True]
    message_id: UUID
    seq: int


class Marked(msgspec.Struct, frozen=True):
    """A reading mark."""

    success: Literal[True]
    last_read_seq: int
    unread: int


class Muted(msgspec.Struct, frozen=True):
    """Until when a conversation is muted; null: it is not."""

    success: Literal[True]
    muted_until: Moment | None


class Archived(msgspec.Struct, frozen=True):
    """Whether a conversation is put away."""

    success: Literal[True]
    archived: bool


class OwnConversation(msgspec.Struct, frozen=True):
    """The reader's own conversation on a request."""

    id: UUID
    status: Standing


class HelpRequest(msgspec.Struct, frozen=True):
    """A help request, as a member sees it. `takes_offers`: not while its owner has paused new ones, either."""

    id: UUID
    title: str
    description: str | None
    category: Category
    urgency: Urgency
    status: Status
    takes_offers: bool
    status_reason: str | None
    exchange_offer: str | None
    owner: Person
    is_mine: bool
    is_helper: bool
    helper_id: UUID | None
    conversation: OwnConversation | None
    created_at: Moment
    updated_at: Moment


class HelpRequestAnswer(msgspec.Struct, frozen=True):
    """One help request."""

    success: Literal[True]
    help_request: HelpRequest


class HelpRequestPage(msgspec.Struct, frozen=True):
    """A page of help requests; `next_cursor` is null at the end."""

    success: Literal[True]
    help_requests: list[HelpRequest]
    next_cursor: str | None


class HelpRequestMoved(msgspec.Struct, frozen=True):
    """A help request that was made or changed."""

    success: Literal[True]
    help_request_id: UUID
    status: Status | None = None
    help_request_status: Status | None = None
    helper_id: UUID | None = None
    message: str | None = None


class Restriction(msgspec.Struct, frozen=True):
    """What a coordinator has taken from a member, why and until when."""

    kind: Literal["limited", "suspended", "banned"]
    until: Moment | None
    why: str


class CommunitySummary(msgspec.Struct, frozen=True):
    """What everybody may know of a community."""

    id: UUID
    slug: str
    name: str
    time_zone: str
    locale: str
    emergency_line: str | None


class Me(msgspec.Struct, frozen=True):
    """The caller's own account and status. `csrf_token`: for changes made through the session cookie."""

    success: Literal[True]
    user_id: UUID
    email: str | None
    display_name: str
    town: str | None
    verification_status: Literal["pending", "approved", "rejected"]
    decision_reason: str | None
    decided_at: Moment | None
    time_zone: str | None
    locale: str | None
    unread: Unread
    is_coordinator: bool
    applications_waiting: int
    is_operator: bool
    restriction: Restriction | None
    community: CommunitySummary
    csrf_token: str | None = None
    access_token: str | None = None
    token_type: Literal["bearer"] | None = None
    expires_in: int | None = None


@dataclass
class Refusals(ResponseSpec):
    """The answers of one status: the codes that it comes with."""

    codes: tuple[Code, ...] = ()


def answers(success: type, *codes: Code, status: int = 200) -> dict[int, ResponseSpec]:
    """The declared answers of a handler: its success, and the codes that what it calls can refuse with.

    What every handler of its kind can answer besides, the description adds (web/description.py).
    """
    declared: dict[int, ResponseSpec] = {
        number: Refusals(
            Error, description="", generate_examples=False, codes=tuple(c for c in codes if STATUS[c] == number)
        )
        for number in {STATUS[code] for code in codes}
    }
    declared[status] = ResponseSpec(success, description="Done", generate_examples=False)
    return declared


# What any call of a function for a signed-in member can be refused with.
ALWAYS: Final = (
    Code.UNAUTHENTICATED,
    Code.PERMISSION_DENIED,
    Code.VALIDATION_ERROR,
    Code.UNAVAILABLE,
    Code.RPC_ERROR,
    Code.SERVER_ERROR,
)
# What a write can be refused with besides: it takes a key. ADDITIONS are in nobody's way, so nothing conflicts.
ADDITIONS: Final = (*ALWAYS, Code.IDEMPOTENCY_MISMATCH)
WRITES: Final = (*ADDITIONS, Code.CONFLICT)
