"""Rows of tables and arguments of functions, as msgspec types.

This file is made by `care-collective types --write`. The arguments are for whoever calls the functions:
msgspec.json.encode gives the body for /rest/v1/rpc/{function}, with what is UNSET left out. The rows are for programs
with the owner's rights, as reports are: no client reads a table. msgspec.convert takes a driver's row as a dict,
msgspec.json.decode one in JSON.
"""
# ruff: noqa: E501
# fmt: off

from datetime import datetime, time
from typing import Any, Literal
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType


class CommunitiesRow(Struct, frozen=True, kw_only=True):
    """One row a mutual-aid community; everything its members make carries its id."""

    id: UUID
    slug: str
    hosts: list[str]
    name: str
    time_zone: str
    locale: str
    emergency_line: str | None
    settings: Any
    is_probe: bool
    created_at: datetime


class ConversationMembersRow(Struct, frozen=True, kw_only=True):
    """Each person's own view of a conversation of either engine; the inbox is one scan of it."""

    community_id: UUID
    conversation_id: UUID
    user_id: UUID
    version: Literal["v1", "v2"]
    last_read_seq: int
    unread: int
    last_activity_at: datetime
    muted_until: datetime | None
    archived_at: datetime | None


class ConversationParticipantsRow(Struct, frozen=True, kw_only=True):
    """V1: the two people of a conversation, written by its second step."""

    community_id: UUID
    conversation_id: UUID
    user_id: UUID
    joined_at: datetime
    left_at: datetime | None


class ConversationsRow(Struct, frozen=True, kw_only=True):
    """V1: opened in three commits. last_seq -1 is an orphan, a conversation without a message."""

    community_id: UUID
    id: UUID
    help_request_id: UUID
    created_by: UUID
    requester_id: UUID
    status: Literal["active", "held", "declined", "closed"]
    status_by: UUID | None
    decline_reason: str | None
    last_seq: int
    last_message_at: datetime | None
    created_at: datetime
    updated_at: datetime
    hidden_at: datetime | None


class ConversationsV2Row(Struct, frozen=True, kw_only=True):
    """V2: a conversation that carries its own first message (seq 0), so it cannot exist without one."""

    community_id: UUID
    id: UUID
    help_request_id: UUID
    requester_id: UUID
    helper_id: UUID
    initial_message: str
    status: Literal["active", "held", "declined", "closed"]
    status_by: UUID | None
    decline_reason: str | None
    last_seq: int
    created_at: datetime
    updated_at: datetime
    hidden_at: datetime | None
    initial_message_id: UUID | None
    initial_message_at: datetime | None
    initial_message_updated_at: datetime | None


class HelpRequestsRow(Struct, frozen=True, kw_only=True):
    """What a neighbour asks for. Its row lock orders offers on it against each other and against its end."""

    community_id: UUID
    id: UUID
    user_id: UUID
    title: str
    description: str | None
    category: Literal["health-caregiving", "groceries-meals", "transportation-errands", "household-yard", "technology-administrative", "social-companionship", "other"]
    urgency: Literal["normal", "urgent", "critical"]
    status: Literal["open", "in_progress", "completed", "cancelled", "closed"]
    status_reason: str | None
    helper_id: UUID | None
    exchange_offer: str | None
    created_at: datetime
    updated_at: datetime
    in_progress_at: datetime | None
    completed_at: datetime | None
    cancelled_at: datetime | None
    closed_at: datetime | None


class MessagesRow(Struct, frozen=True, kw_only=True):
    """V1: what was written, the first message (seq 0) among them."""

    community_id: UUID
    id: UUID
    conversation_id: UUID
    seq: int
    sender_id: UUID
    recipient_id: UUID
    content: str
    created_at: datetime
    updated_at: datetime
    hidden_at: datetime | None


class MessagesV2Row(Struct, frozen=True, kw_only=True):
    """V2: follow-ups, seq 1 and on."""

    community_id: UUID
    id: UUID
    conversation_id: UUID
    seq: int
    sender_id: UUID
    recipient_id: UUID
    content: str
    created_at: datetime
    updated_at: datetime
    hidden_at: datetime | None


class MessagingPreferencesRow(Struct, frozen=True, kw_only=True):
    """How a member wants to be told, and whether they take offers. Who has no row has the defaults."""

    community_id: UUID
    user_id: UUID
    email: Literal["each", "daily", "off"]
    quiet_from: time
    quiet_to: time
    offers_paused: bool
    updated_at: datetime


class NotificationsRow(Struct, frozen=True, kw_only=True):
    """What a member is told: one row an event and person, unread messages of a conversation one together. Ids,
    never words.
    """

    community_id: UUID
    id: UUID
    user_id: UUID
    kind: Literal["offer.received", "offer.unanswered", "offer.accepted", "offer.declined", "offer.replaced", "helper.stepped_back", "helper.released", "message.received", "conversation.closed", "conversation.reopened", "request.completed", "request.cancelled", "request.reopened", "request.expired", "membership.waiting", "membership.approved", "membership.rejected"]
    actor_id: UUID | None
    help_request_id: UUID | None
    conversation_id: UUID | None
    count: int
    created_at: datetime
    updated_at: datetime
    read_at: datetime | None
    due_at: datetime | None
    again_at: datetime | None
    delivery_id: UUID | None


class ProfilesRow(Struct, frozen=True, kw_only=True):
    """A member of a community. Every write locks its author's row here first (rule 11)."""

    community_id: UUID
    user_id: UUID
    display_name: str
    town: str | None
    verification_status: Literal["pending", "approved", "rejected"]
    is_coordinator: bool
    application_words: str | None
    decision_reason: str | None
    decided_by: UUID | None
    decided_at: datetime | None
    time_zone: str | None
    locale: str | None
    created_at: datetime
    deleted_at: datetime | None


class UserBlocksRow(Struct, frozen=True, kw_only=True):
    """Who wants nothing to do with whom. Works both ways and is never disclosed."""

    community_id: UUID
    blocker_id: UUID
    blocked_id: UUID
    created_at: datetime


class UserRestrictionsRow(Struct, frozen=True, kw_only=True):
    """What a coordinator has taken from a member, why and until when. Kept when lifted."""

    community_id: UUID
    id: UUID
    user_id: UUID
    kind: Literal["limited", "suspended", "banned"]
    why: str
    until: datetime | None
    created_by: UUID | None
    created_at: datetime
    lifted_at: datetime | None
    lifted_by: UUID | None


class AcceptOfferArgs(Struct, frozen=True, kw_only=True):
    """Accepts an offer on the caller's request: assigns the helper, in place of another where there was one."""

    p_conversation_id: UUID


class AddPushSubscriptionArgs(Struct, frozen=True, kw_only=True):
    """From now on tells the caller by web push to this browser instead of by letters; up to 10 browsers, an
    eleventh replaces the one used least lately.
    """

    p_endpoint: str
    p_p256dh: str
    p_auth: str


class ArchiveConversationArgs(Struct, frozen=True, kw_only=True):
    """Puts one of the caller's conversations away, or back into the list; it comes back by itself when the other
    one writes or decides.
    """

    p_conversation_id: UUID
    p_archived: bool


class BlockUserArgs(Struct, frozen=True, kw_only=True):
    """Blocks a member whom the caller has met: neither finds the other's requests or can offer, their
    conversations end, and who helps the other helps no more. It is not disclosed.
    """

    p_user_id: UUID


class CancelHelpRequestArgs(Struct, frozen=True, kw_only=True):
    """Takes one of the caller's requests back, with an optional reason."""

    p_help_request_id: UUID
    p_reason: str | UnsetType | None = UNSET


class CloseConversationArgs(Struct, frozen=True, kw_only=True):
    """Closes one of the caller's active conversations; both can still read it."""

    p_conversation_id: UUID


class CompleteHelpRequestArgs(Struct, frozen=True, kw_only=True):
    """Marks one of the caller's requests as done."""

    p_help_request_id: UUID


class CountUnreadNotificationsArgs(Struct, frozen=True, kw_only=True):
    """How many of the caller's notifications are unread, up to 100."""



class CreateConversationAtomicArgs(Struct, frozen=True, kw_only=True):
    """Offers help: opens the conversation with its first message (10 to 1000 characters), or answers why not."""

    p_help_request_id: UUID
    p_helper_id: UUID
    p_initial_message: str


class CreateHelpRequestArgs(Struct, frozen=True, kw_only=True):
    """Asks for help, 10 times a day. Title 5 to 100 characters, description to 1000, what one gives in return to
    300.
    """

    p_title: str
    p_category: str
    p_description: str | UnsetType | None = UNSET
    p_urgency: str | UnsetType = UNSET
    p_exchange_offer: str | UnsetType | None = UNSET


class DecideApplicationArgs(Struct, frozen=True, kw_only=True):
    """Approves or rejects somebody who wants to join (p_decision), with an optional reason of up to 500 characters
    that they read; for coordinators.
    """

    p_applicant_id: UUID
    p_decision: str
    p_reason: str | UnsetType | None = UNSET


class DeclineOfferArgs(Struct, frozen=True, kw_only=True):
    """Declines an offer on the caller's request, with an optional reason (to 500 characters) that the helper
    reads.
    """

    p_conversation_id: UUID
    p_reason: str | UnsetType | None = UNSET


class DeleteAccountArgs(Struct, frozen=True, kw_only=True):
    """Deletes the caller's account in the community and erases their personal data, for good; p_confirm is the
    word delete. What they wrote to others stays readable to those, as a former member's. Their address and
    password go with their last community.
    """

    p_confirm: str


class ExportMyDataArgs(Struct, frozen=True, kw_only=True):
    """Everything the caller gave or that is about them in the community; messages of both engines 2000 at a time,
    further ones by next_cursor. The first page has all the rest. 100 pages an hour.
    """

    p_cursor: str | UnsetType | None = UNSET


class GetConversationV2Args(Struct, frozen=True, kw_only=True):
    """One of the caller's conversations, of either engine, with its newest 500 follow-ups, oldest first."""

    p_conversation_id: UUID
    p_user_id: UUID


class GetHelpRequestArgs(Struct, frozen=True, kw_only=True):
    """One request of the community, as the caller sees it."""

    p_help_request_id: UUID


class GetMessagesArgs(Struct, frozen=True, kw_only=True):
    """A page of one of the caller's conversations, oldest first, by seq; the first message is seq 0. p_limit 1 to
    100.
    """

    p_conversation_id: UUID
    p_before: int | UnsetType | None = UNSET
    p_after: int | UnsetType | None = UNSET
    p_limit: int | UnsetType = UNSET


class GetPreferencesArgs(Struct, frozen=True, kw_only=True):
    """The caller's own preferences: letters, quiet hours, new offers, language and time zone."""



class GetProfileArgs(Struct, frozen=True, kw_only=True):
    """The name and town by which the caller is known to other members."""



class ListApplicationsArgs(Struct, frozen=True, kw_only=True):
    """Who wants to join the community (p_waiting) or was not approved (rejected), who has waited longest first;
    for coordinators. p_limit 1 to 50.
    """

    p_cursor: str | UnsetType | None = UNSET
    p_limit: int | UnsetType = UNSET
    p_waiting: bool | UnsetType = UNSET


class ListBlocksArgs(Struct, frozen=True, kw_only=True):
    """Whom the caller has blocked, the latest first. Nobody is told who has blocked them."""



class ListConversationsArgs(Struct, frozen=True, kw_only=True):
    """The caller's conversations of both engines, by last activity. p_limit 1 to 50; p_filter all (without the
    archived ones), unread or archived; p_search, to 100 characters: words of the other's name and the title, or
    of one message.
    """

    p_cursor: str | UnsetType | None = UNSET
    p_limit: int | UnsetType = UNSET
    p_filter: str | UnsetType = UNSET
    p_search: str | UnsetType | None = UNSET


class ListHelpRequestsArgs(Struct, frozen=True, kw_only=True):
    """Requests of the community, newest first; by status, category, urgency and words; p_mine: the caller's own."""

    p_cursor: str | UnsetType | None = UNSET
    p_limit: int | UnsetType = UNSET
    p_status: str | UnsetType = UNSET
    p_category: str | UnsetType | None = UNSET
    p_urgency: str | UnsetType | None = UNSET
    p_search: str | UnsetType | None = UNSET
    p_mine: bool | UnsetType = UNSET


class ListNotificationsArgs(Struct, frozen=True, kw_only=True):
    """What the caller was told, newest first. p_limit 1 to 50, p_filter all or unread."""

    p_cursor: str | UnsetType | None = UNSET
    p_limit: int | UnsetType = UNSET
    p_filter: str | UnsetType = UNSET


class ListOffersArgs(Struct, frozen=True, kw_only=True):
    """The offers on one of the caller's own requests, of both engines."""

    p_help_request_id: UUID
    p_cursor: str | UnsetType | None = UNSET
    p_limit: int | UnsetType = UNSET


class ListPushSubscriptionsArgs(Struct, frozen=True, kw_only=True):
    """The browsers that the caller is told by: the SHA-256 of each endpoint, which a browser compares with its
    own, since when, and when one was last reached.
    """



class MarkAllNotificationsReadArgs(Struct, frozen=True, kw_only=True):
    """Marks all of the caller's notifications as read; their threads stay as they are."""



class MarkNotificationReadArgs(Struct, frozen=True, kw_only=True):
    """Marks one of the caller's notifications as read; a message's stays unread in its thread."""

    p_notification_id: UUID


class MarkReadArgs(Struct, frozen=True, kw_only=True):
    """Marks one of the caller's conversations as read up to a seq, and what they were told of it. Never backwards,
    never past the last message.
    """

    p_conversation_id: UUID
    p_seq: int


class MuteConversationArgs(Struct, frozen=True, kw_only=True):
    """Mutes one of the caller's conversations until a moment: no letters about it, and it still counts as unread.
    Null, or a moment that has passed, ends that.
    """

    p_conversation_id: UUID
    p_until: datetime


class ReleaseHelperArgs(Struct, frozen=True, kw_only=True):
    """The owner releases the accepted helper; the request is open again."""

    p_conversation_id: UUID


class RemovePushSubscriptionArgs(Struct, frozen=True, kw_only=True):
    """Tells the caller no more by web push to this browser, where it did."""

    p_endpoint: str


class ReopenConversationArgs(Struct, frozen=True, kw_only=True):
    """Reopens a conversation that the caller declined or closed."""

    p_conversation_id: UUID


class ReopenHelpRequestArgs(Struct, frozen=True, kw_only=True):
    """Opens one of the caller's completed or cancelled requests again."""

    p_help_request_id: UUID


class ReportProblemArgs(Struct, frozen=True, kw_only=True):
    """Tells that a conversation could not be opened or used: which, the code and reference that were shown, and
    words (to 500 characters), each where there is one.
    """

    p_conversation_id: UUID | UnsetType | None = UNSET
    p_help_request_id: UUID | UnsetType | None = UNSET
    p_code: str | UnsetType | None = UNSET
    p_reference: str | UnsetType | None = UNSET
    p_words: str | UnsetType | None = UNSET


class SendMessageV2Args(Struct, frozen=True, kw_only=True):
    """Writes a message (1 to 1000 characters) into one of the caller's conversations, of either engine."""

    p_conversation_id: UUID
    p_sender_id: UUID
    p_content: str


class SetPreferencesArgs(Struct, frozen=True, kw_only=True):
    """Sets all of the caller's preferences: email each, daily or off; quiet hours as times of day, equal ones are
    none; whether new offers are paused; locale en or es and a time zone by its place, null is the community's.
    """

    p_email: str
    p_quiet_from: str
    p_quiet_to: str
    p_offers_paused: bool
    p_locale: str | UnsetType | None = UNSET
    p_time_zone: str | UnsetType | None = UNSET


class SetProfileArgs(Struct, frozen=True, kw_only=True):
    """Corrects the caller's display name and town, up to 80 characters each; also before they are approved."""

    p_display_name: str
    p_town: str | UnsetType | None = UNSET


class StepBackArgs(Struct, frozen=True, kw_only=True):
    """The accepted helper gives the request back; it is open again."""

    p_conversation_id: UUID


class UnblockUserArgs(Struct, frozen=True, kw_only=True):
    """Ends the caller's block of a member, where there is one. Conversations stay ended; the caller can open them
    again.
    """

    p_user_id: UUID


class UpdateHelpRequestArgs(Struct, frozen=True, kw_only=True):
    """Rewrites one of the caller's requests while it takes offers. Limits as create_help_request."""

    p_help_request_id: UUID
    p_title: str
    p_category: str
    p_description: str | UnsetType | None = UNSET
    p_urgency: str | UnsetType = UNSET
    p_exchange_offer: str | UnsetType | None = UNSET
