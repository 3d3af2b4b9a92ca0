"""How the functions under /rest/v1/rpc are described: arguments from the catalogue, limits from the like path of /api.

Holds one table of its own: what each function answers, and which handler of /api calls the same.
"""

from collections.abc import Iterator
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from care_collective.errors import Code
from care_collective.operations import catalogue
from care_collective.requests.service import Status
from care_collective.web import postgrest
from care_collective.web.api import blocks, coordination, me, notifications, preferences, problems, push, schemas


class Refusal(msgspec.Struct, frozen=True):
    """A refusal, which is a value: HTTP's status is 200."""

    success: Literal[False]
    error: Code
    message: str
    reason: str | None = None
    fields: dict[str, str] | None = None
    conversation_id: UUID | None = None
    status: schemas.Standing | Status | None = None
    help_request_status: Status | None = None
    retry_after: int | None = None
    restriction: Literal["limited", "suspended", "banned"] | None = None
    until: schemas.Moment | None = None
    why: str | None = None


class ClientError(msgspec.Struct, frozen=True):
    """An error of the call itself, as PostgREST puts it."""

    code: str
    message: str
    details: str | None
    hint: str | None


class Opened(msgspec.Struct, frozen=True):
    """A conversation that an offer opened."""

    success: Literal[True]
    conversation_id: UUID
    message: str


class Written(msgspec.Struct, frozen=True):
    """A message that was written."""

    success: Literal[True]
    message_id: UUID
    seq: int
    message: str


class Opening(msgspec.Struct, frozen=True):
    """A conversation with its first message."""

    id: UUID
    help_request_id: UUID
    requester_id: UUID
    helper_id: UUID
    initial_message: str | None
    status: schemas.Standing
    created_at: schemas.Moment
    updated_at: schemas.Moment


class Thread(msgspec.Struct, frozen=True):
    """A conversation and its newest 500 follow-ups, oldest first."""

    success: Literal[True]
    conversation: Opening
    messages: list[schemas.Message]
    has_more: bool


class Like(msgspec.Struct, frozen=True):
    """What a function answers, and the handler of /api that calls the same."""

    answer: type
    handler: str


KNOWN: Final = {
    "create_conversation_atomic": Like(Opened, "start_conversation"),
    "send_message_v2": Like(Written, "send_message"),
    "get_conversation_v2": Like(Thread, "get_messages"),
    "list_conversations": Like(schemas.ConversationPage, "list_conversations"),
    "list_offers": Like(schemas.ConversationPage, "list_offers"),
    "get_messages": Like(schemas.MessagePage, "get_messages"),
    "mark_read": Like(schemas.Marked, "mark_read"),
    "close_conversation": Like(schemas.Done, "close_conversation"),
    "reopen_conversation": Like(schemas.Done, "reopen_conversation"),
    "accept_offer": Like(schemas.HelpRequestMoved, "accept_offer"),
    "decline_offer": Like(schemas.Done, "reject_offer"),
    "step_back": Like(schemas.HelpRequestMoved, "step_back"),
    "release_helper": Like(schemas.HelpRequestMoved, "release_helper"),
    "create_help_request": Like(schemas.HelpRequestMoved, "create_request"),
    "update_help_request": Like(schemas.HelpRequestMoved, "update_request"),
    "get_help_request": Like(schemas.HelpRequestAnswer, "get_request"),
    "list_help_requests": Like(schemas.HelpRequestPage, "list_requests"),
    "cancel_help_request": Like(schemas.HelpRequestMoved, "cancel_request"),
    "complete_help_request": Like(schemas.HelpRequestMoved, "complete_request"),
    "reopen_help_request": Like(schemas.HelpRequestMoved, "reopen_request"),
    "mute_conversation": Like(schemas.Muted, "mute_conversation"),
    "archive_conversation": Like(schemas.Archived, "archive_conversation"),
    "block_user": Like(schemas.Done, "block_user"),
    "unblock_user": Like(schemas.Done, "unblock_user"),
    "list_blocks": Like(blocks.Blocks, "list_blocks"),
    "report_problem": Like(problems.ProblemReported, "report_problem"),
    "list_notifications": Like(notifications.NotificationPage, "list_notifications"),
    "count_unread_notifications": Like(notifications.UnreadNotifications, "count_unread_notifications"),
    "mark_notification_read": Like(notifications.UnreadNotifications, "mark_notification_read"),
    "mark_all_notifications_read": Like(notifications.UnreadNotifications, "mark_all_notifications_read"),
    "list_applications": Like(coordination.ApplicationPage, "list_applications"),
    "decide_application": Like(coordination.ApplicationDecided, "reject_application"),
    "get_preferences": Like(preferences.PreferencesAnswer, "get_preferences"),
    "set_preferences": Like(preferences.PreferencesAnswer, "set_preferences"),
    "get_profile": Like(preferences.ProfileAnswer, "get_profile"),
    "set_profile": Like(preferences.ProfileAnswer, "set_profile"),
    "list_push_subscriptions": Like(push.OwnBrowsers, "list_push_subscriptions"),
    "add_push_subscription": Like(schemas.Done, "add_push_subscription"),
    "remove_push_subscription": Like(schemas.Done, "remove_push_subscription"),
    "export_my_data": Like(me.ExportPage, "export_my_data"),
    "delete_account": Like(me.Left, "delete_account"),
}
SHAPES: Final = frozenset({Refusal, ClientError, *(like.answer for like in KNOWN.values())})

# Codes of a function's own; the others are the door's, which puts them as PostgREST would.
_VALUES: Final = frozenset(
    {
        Code.CONVERSATION_EXISTS,
        Code.HELP_REQUEST_UNAVAILABLE,
        Code.PERMISSION_DENIED,
        Code.VALIDATION_ERROR,
        Code.NOT_FOUND,
        Code.RATE_LIMITED,
        Code.IDEMPOTENCY_MISMATCH,
        Code.CONFLICT,
        Code.SERVER_ERROR,
    }
)
_TYPES: Final[dict[str, dict[str, Any]]] = {
    "uuid": {"type": "string", "format": "uuid"},
    "text": {"type": "string"},
    "integer": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    "boolean": {"type": "boolean"},
    "timestamp with time zone": {"type": "string", "format": "date-time"},
}
# Of the door itself (postgrest.py): each status with its codes, or none where they are the database's own.
ERRORS: Final[dict[int, tuple[str, ...]]] = {
    400: ("22P02", "22003", "PGRST102"),
    401: ("42501", "PGRST301"),
    403: ("42501",),
    404: ("PGRST202",),
    406: ("PGRST106", "PGRST107"),
    413: ("too_large",),
    429: ("rate_limited",),
    500: ("XX000",),
    503: (),
}


class Counterpart(msgspec.Struct, frozen=True):
    """A handler of /api as far as its function shares it: the schemas of its fields and parameters, and its codes."""

    fields: dict[str, dict[str, Any]]
    codes: frozenset[Code]


def operations(counterparts: dict[str, Counterpart]) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Path and operation of each offered function, without what every operation has, and whether it writes."""
    for function in catalogue.offered(catalogue.declared()):
        name = function.plain_name.removeprefix("public.")
        like = KNOWN.get(name)
        other = counterparts.get(like.handler) if like is not None else None
        fields = other.fields if other is not None else {}
        properties = {
            argument.name: _argument(argument, fields.get(argument.name.removeprefix("p_")))
            for argument in function.arguments
        }
        codes = _codes(name, other)
        yield (
            f"{postgrest.RPC}/{name}",
            {
                "tags": ["functions"],
                "operationId": f"rpc_{name}",
                "summary": name,
                "description": function.comment or name,
                "security": [{"bearer": []}, {"apikey": []}],
                "requestBody": {
                    "required": any(argument.value is None for argument in function.arguments),
                    "content": {"application/json": {"schema": _body(function, properties)}},
                },
                "answer": {
                    "oneOf": [_success(like), {**_reference(Refusal), "properties": {"error": {"enum": codes}}}]
                },
            },
            function.volatility == "volatile",
        )


def _codes(name: str, other: Counterpart | None) -> list[str]:
    declared = _VALUES if other is None else other.codes & _VALUES
    # Only where V2 is switched off: engine_off.
    off = {Code.UNAVAILABLE} if name == "create_conversation_atomic" else set()
    return sorted({*declared, *off})


def _success(like: Like | None) -> dict[str, Any]:
    if like is None:
        return {"type": "object", "properties": {"success": {"const": True}}, "required": ["success"]}
    return _reference(like.answer)


def _body(function: catalogue.Function, properties: dict[str, Any]) -> dict[str, Any]:
    needed = [argument.name for argument in function.arguments if argument.value is None]
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


def _argument(argument: catalogue.Argument, known: dict[str, Any] | None) -> dict[str, Any]:
    """An argument's schema: the like field's where there is one, else the type's own."""
    schema = _TYPES[argument.type] if known is None else {k: v for k, v in known.items() if k != "default"}
    takes_null = (argument.value or "").startswith("NULL")
    if takes_null and "anyOf" not in schema:
        schema = {"anyOf": [schema, {"type": "null"}]}
    return schema


def _reference(shape: type) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{shape.__name__}"}
