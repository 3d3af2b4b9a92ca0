"""Help requests."""

from uuid import UUID

import msgspec

from care_collective.client.models.messaging import Person
from care_collective.client.models.written import Moment, Written


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


class HelpRequestMoved(Written, frozen=True, kw_only=True):
    """A help request that was made or changed."""

    help_request_id: UUID
    status: str | None = None
    help_request_status: str | None = None
    helper_id: UUID | None = None
    message: str | None = None
