"""What calls answer. Members that a newer server adds are passed over; its new words for a status are read as they are.

`tests/client/test_shapes.py` holds these against the description of the API and against real answers.
"""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec

# A time always knows its zone.
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a write. `replayed`: this key had been answered before, and this is that answer again."""

    replayed: bool = False


class Done(Written, frozen=True, kw_only=True):
    """A change that was made; `status` is what it led to."""

    status: str | None = None


class Started(Written, frozen=True, kw_only=True):
    """A conversation that an offer opened; `version` is v1 or v2, `message` words for a person."""

    conversation_id: UUID
    help_request_id: UUID
    version: str
    message: str


class Sent(Written, frozen=True, kw_only=True):
    """A message that was written; `seq` is its place in the thread."""

    message_id: UUID
    seq: int


class Marked(Written, frozen=True, kw_only=True):
    """A reading mark, and how many messages are unread past it."""

    last_read_seq: int
    unread: int


class Muted(Written, frozen=True, kw_only=True):
    """Until when a conversation is muted; None: it is not."""

    muted_until: Moment | None


class Archived(Written, frozen=True, kw_only=True):
    """Whether a conversation is put away."""

    archived: bool


class ProblemReported(Written, frozen=True, kw_only=True):
    """A report of a problem that was taken; `message` words for a person."""

    problem_id: UUID
    message: str


class ApplicationDecided(Written, frozen=True, kw_only=True):
    """What was decided about an application: `status` is approved or rejected."""

    user_id: UUID
    status: str


class HelpRequestMoved(Written, frozen=True, kw_only=True):
    """A help request that was made or changed."""

    help_request_id: UUID
    status: str | None = None
    help_request_status: str | None = None
    helper_id: UUID | None = None
    message: str | None = None


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Another member, as members see each other."""

    user_id: UUID
    display_name: str
    town: str | None
    deleted: bool


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message; the first of a thread is seq 0. `content` is None when it has been hidden."""

    id: UUID
    seq: int
    sender_id: UUID
    content: str | None
    created_at: Moment
    updated_at: Moment


class RequestSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The request a conversation is about; `accepted`: its helper is the one of this conversation."""

    id: UUID
    title: str
    status: str
    accepted: bool


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation, as one of its two people sees it. `role` is helper or requester."""

    id: UUID
    version: str
    role: str
    help_request: RequestSummary
    other: Person
    status: str
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


class ConversationPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of conversations; `next_cursor` is None at the end."""

    conversations: list[Conversation]
    next_cursor: str | None


class Unread(msgspec.Struct, frozen=True, kw_only=True):
    """How many conversations, up to 100, hold how many unread messages, and how many notifications, up to 100, are
    unread."""

    conversations: int
    messages: int
    notifications: int


class NotificationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The request a notification is about; `accepted`: the reader is its helper."""

    id: UUID
    title: str
    accepted: bool


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller was told: what was done (`kind`), by whom, about which request; `count` messages together."""

    id: UUID
    kind: str
    count: int
    actor: Person | None
    help_request: NotificationRequest | None
    conversation_id: UUID | None
    created_at: Moment
    updated_at: Moment
    read_at: Moment | None


class NotificationPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of notifications, newest first; `next_cursor` is None at the end."""

    notifications: list[Notification]
    next_cursor: str | None


class UnreadNotifications(Written, frozen=True, kw_only=True):
    """How many notifications are unread, up to 100."""

    unread: int


class LiveState(msgspec.Struct, frozen=True, kw_only=True):
    """The present state, as a live stream tells it: what is unread, and inbox rows that are new or changed."""

    unread: Unread
    conversations: list[Conversation]


class MessagePage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a thread, oldest first; `has_more`: there are more in the direction of reading."""

    conversation: Conversation
    messages: list[Message]
    has_more: bool


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody whom the caller has blocked, and since when."""

    user: Person
    created_at: Moment


class Blocks(msgspec.Struct, frozen=True, kw_only=True):
    """Whom the caller has blocked, the latest first."""

    blocks: list[Block]


class OwnConversation(msgspec.Struct, frozen=True, kw_only=True):
    """The reader's own conversation on a request."""

    id: UUID
    status: str


class HelpRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A help request, as a member sees it. `takes_offers`: not while its owner has paused new ones, either."""

    id: UUID
    title: str
    description: str | None
    category: str
    urgency: str
    status: str
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


class HelpRequestAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One help request."""

    help_request: HelpRequest


class HelpRequestPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of help requests; `next_cursor` is None at the end."""

    help_requests: list[HelpRequest]
    next_cursor: str | None


class Restriction(msgspec.Struct, frozen=True, kw_only=True):
    """What a coordinator has taken from a member, why and until when; `kind` is limited, suspended or banned."""

    kind: str
    until: Moment | None
    why: str


class CommunitySummary(msgspec.Struct, frozen=True, kw_only=True):
    """What everybody may know of a community."""

    id: UUID
    slug: str
    name: str
    time_zone: str
    locale: str
    emergency_line: str | None


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """The caller's own account and status. The client keeps the tokens by itself; they are not in the repr."""

    user_id: UUID
    email: str | None
    display_name: str
    town: str | None
    verification_status: str
    decision_reason: str | None
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
    token_type: str | None = None
    expires_in: int | None = None

    def __repr__(self) -> str:
        return f"Me(user_id={self.user_id!r}, verification_status={self.verification_status!r})"


class Applicant(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who wants to join (`status` pending) or was not approved (rejected)."""

    user_id: UUID
    display_name: str
    town: str | None
    application_words: str | None
    status: str
    decision_reason: str | None
    decided_at: Moment | None
    created_at: Moment


class ApplicationPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of applications; `next_cursor` is None at the end."""

    applications: list[Applicant]
    next_cursor: str | None


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """Which features are on for the caller."""

    messaging_v2: bool


class Flag(msgspec.Struct, frozen=True, kw_only=True):
    """The flag as a node sees it; `alarm`: the stored stage cannot be read, or nothing has been read for 10 seconds.

    `stale` is the latter: the state is the last one known. `generation` rises with every change of a flag.
    `off_means` where who is outside V2 opens: v1, or once that is retired paused, nowhere.
    `guard` is watching, or blind when it has seen nothing for 30 seconds; `alerts_not_sent` wait for another try.
    """

    messaging_v2: str
    source: str
    alarm: bool
    stale: bool
    generation: int
    off_means: str
    guard: str
    alerts_not_sent: int


class Migrations(msgspec.Struct, frozen=True, kw_only=True):
    """How many migrations are applied, and why the database is not this release's where it is not."""

    applied: int
    problem: str | None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How a node and its database are; `status` is ok, behind or unavailable. `listening`: live streams are prompt."""

    version: str
    flag: Flag
    status: str
    database: str
    listening: bool
    server_version: int | None = None
    migrations: Migrations | None = None
    outbox_lag_seconds: float | None = None


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a node answers, or can serve: ok, behind or unavailable."""

    status: str


class Preferences(msgspec.Struct, frozen=True, kw_only=True):
    """What a member has chosen: times of day as 21:00; a `locale` or `time_zone` that is None is the community's."""

    email: str
    quiet_from: str
    quiet_to: str
    offers_paused: bool
    locale: str | None
    time_zone: str | None


class PreferencesAnswer(Written, frozen=True, kw_only=True):
    """One's own preferences."""

    preferences: Preferences


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """How a member is known to others."""

    display_name: str
    town: str | None


class ProfileAnswer(Written, frozen=True, kw_only=True):
    """One's own profile."""

    profile: Profile


class ExportedMessage(Message, frozen=True, kw_only=True):
    """A message and the conversation it stands in."""

    conversation_id: UUID


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of one person's own in a community, part by part, with the fields that the server keeps."""

    exported_at: Moment
    community: CommunitySummary
    account: dict[str, Any]
    profile: dict[str, Any]
    sessions: list[dict[str, Any]]
    preferences: dict[str, Any] | None
    restrictions: list[dict[str, Any]]
    blocks: list[dict[str, Any]]
    help_requests: list[dict[str, Any]]
    conversations: list[Conversation]
    marks: list[dict[str, Any]]
    notifications: list[dict[str, Any]]
    letters: list[dict[str, Any]]
    problem_reports: list[dict[str, Any]]
    limits: list[dict[str, Any]]
    attempts: list[dict[str, Any]]
    operated: list[dict[str, Any]]
    messages: list[ExportedMessage]


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """An account that was deleted."""

    message: str
