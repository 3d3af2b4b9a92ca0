"""The caller's own account and choices, and who wants to join."""

from typing import Any
from uuid import UUID

import msgspec

from care_collective.client.models.messaging import Conversation, Message, Unread
from care_collective.client.models.written import Moment, Written


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
    token_type: str | None = None
    expires_in: int | None = None

    def __repr__(self) -> str:
        return f"Me(user_id={self.user_id!r}, verification_status={self.verification_status!r})"


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


class Browser(msgspec.Struct, frozen=True, kw_only=True):
    """A browser that one is told by. `digest`: the SHA-256 of its endpoint, in hexadecimal."""

    digest: str
    created_at: Moment
    last_ok_at: Moment | None


class PushAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One's own browsers, and the `key` to subscribe with, None where no web push is offered."""

    subscriptions: list[Browser]
    key: str | None


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
    push_subscriptions: list[dict[str, Any]]
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


class ApplicationDecided(Written, frozen=True, kw_only=True):
    """What was decided about an application: `status` is approved or rejected."""

    user_id: UUID
    status: str
