"""Conversations and what is said in them, what a member was told, and whom they blocked."""

from uuid import UUID

import msgspec

from care_collective.client.models.written import Moment, Written


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


class MessagePage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a thread, oldest first; `has_more`: there are more in the direction of reading."""

    conversation: Conversation
    messages: list[Message]
    has_more: bool


class Unread(msgspec.Struct, frozen=True, kw_only=True):
    """How many conversations, up to 100, hold how many unread messages, and how many notifications, up to 100, are
    unread."""

    conversations: int
    messages: int
    notifications: int


class LiveState(msgspec.Struct, frozen=True, kw_only=True):
    """The present state, as a live stream tells it: what is unread, and inbox rows that are new or changed."""

    unread: Unread
    conversations: list[Conversation]


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


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody whom the caller has blocked, and since when."""

    user: Person
    created_at: Moment


class Blocks(msgspec.Struct, frozen=True, kw_only=True):
    """Whom the caller has blocked, the latest first."""

    blocks: list[Block]
