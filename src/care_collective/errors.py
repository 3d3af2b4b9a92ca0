"""Codes, the one error class, and the table that turns a driver's error into it.

Must not know SQL functions, HTTP objects or anything a member wrote: words here are fixed sentences.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Literal


class Code(StrEnum):
    """Every way a call can be refused or fail. The names are contract and never change."""

    CONVERSATION_EXISTS = "conversation_exists"
    HELP_REQUEST_UNAVAILABLE = "help_request_unavailable"
    PERMISSION_DENIED = "permission_denied"
    VALIDATION_ERROR = "validation_error"
    NOT_FOUND = "not_found"
    RATE_LIMITED = "rate_limited"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    CONFLICT = "conflict"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    TOO_LARGE = "too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    UNAUTHENTICATED = "unauthenticated"
    UNAVAILABLE = "unavailable"
    RPC_ERROR = "rpc_error"
    SERVER_ERROR = "server_error"


STATUS: Final[Mapping[Code, int]] = MappingProxyType(
    {
        Code.CONVERSATION_EXISTS: 409,
        Code.HELP_REQUEST_UNAVAILABLE: 400,
        Code.PERMISSION_DENIED: 403,
        Code.VALIDATION_ERROR: 400,
        Code.NOT_FOUND: 404,
        Code.RATE_LIMITED: 429,
        Code.IDEMPOTENCY_MISMATCH: 422,
        Code.CONFLICT: 409,
        Code.METHOD_NOT_ALLOWED: 405,
        Code.TOO_LARGE: 413,
        Code.UNSUPPORTED_MEDIA_TYPE: 415,
        Code.UNAUTHENTICATED: 401,
        Code.UNAVAILABLE: 503,
        Code.RPC_ERROR: 500,
        Code.SERVER_ERROR: 500,
    }
)

# English words a person reads, by code and, where a code has several causes, by reason. The SQL function
# care.words answers the same sentences to clients that call the database directly; a test compares the two.
WORDS: Final[Mapping[tuple[Code, str | None], str]] = MappingProxyType(
    {
        (Code.CONVERSATION_EXISTS, None): "You already have a conversation about this request.",
        (Code.HELP_REQUEST_UNAVAILABLE, None): "This request is no longer taking offers.",
        (Code.PERMISSION_DENIED, None): "You may not do this. If you think you should, ask a coordinator.",
        (Code.PERMISSION_DENIED, "identity"): "Please sign in as yourself to do this.",
        (Code.PERMISSION_DENIED, "not_approved"): "Your account has to be approved first.",
        (Code.PERMISSION_DENIED, "restricted"): "Your account is restricted at the moment. Your status page says why.",
        (Code.PERMISSION_DENIED, "not_participant"): "This is not one of your conversations. Go back to your messages.",
        (
            Code.PERMISSION_DENIED,
            "not_active",
        ): "This conversation takes no new messages. Whoever ended it can open it again.",
        (Code.PERMISSION_DENIED, "role"): "Only the person this belongs to can do this. You could ask them.",
        (Code.PERMISSION_DENIED, "csrf"): "This page has been open for too long. Reload it and try again.",
        (Code.VALIDATION_ERROR, None): "Please check what you wrote.",
        (Code.VALIDATION_ERROR, "own_request"): "This is your own request. Offers come from other members.",
        (Code.NOT_FOUND, None): "We could not find this.",
        (Code.RATE_LIMITED, None): "That was a lot in a short time. Please wait a little and try again.",
        (Code.IDEMPOTENCY_MISMATCH, None): "This was sent before with other words. Please send it anew.",
        (Code.CONFLICT, None): "Something changed in the meantime. Reload and look again.",
        (Code.CONFLICT, "state"): "That is not possible in the present state. Reload and look again.",
        (
            Code.CONFLICT,
            "last_coordinator",
        ): "You are the only coordinator here. Ask whoever runs this site to make somebody else one first.",
        (
            Code.CONFLICT,
            "last_operator",
        ): "You are the only operator of this site. Make somebody else one first, on the command line.",
        (
            Code.METHOD_NOT_ALLOWED,
            None,
        ): "This address does not take this method; the header Allow names those that it takes.",
        (Code.TOO_LARGE, None): "This is too large to send. Please shorten it.",
        (Code.UNSUPPORTED_MEDIA_TYPE, None): "Send JSON, with content type application/json.",
        (Code.UNAUTHENTICATED, None): "Please sign in again. Your text is kept.",
        (Code.UNAVAILABLE, None): "We could not send this yet. Try again in a moment.",
        (Code.UNAVAILABLE, "engine_off"): "We could not send this yet. Try again in a moment.",
        (
            Code.UNAVAILABLE,
            "paused",
        ): "New offers are paused at the moment. Your conversations go on. Please try again later.",
        (Code.RPC_ERROR, None): "Something went wrong on our side. Please quote the reference.",
        (Code.SERVER_ERROR, None): "Something went wrong on our side. Please quote the reference.",
    }
)

# SQLSTATE classes of faults that pass by themselves: the caller may try again, with the same idempotency key.
TRANSIENT_CLASSES: Final = frozenset({"08", "40", "53", "55", "57"})


def words(code: Code, reason: str | None = None) -> str:
    """The English sentence for a code and reason; for an unknown reason the code's own sentence."""
    return WORDS.get((code, reason)) or WORDS[(code, None)]


def wait_words(seconds: int) -> str:
    """The sentence for somebody who has to wait so many seconds; care.wait_words says the same."""
    minutes = -(-seconds // 60)
    if minutes <= 1:
        span = "a minute has"
    elif minutes < 120:
        span = f"{minutes} minutes have"
    else:
        span = f"{-(-minutes // 60)} hours have"
    return f"That was a lot in a short time. Please wait until {span} passed, then try again."


class CareError(Exception):
    """A refusal or fault on its way to a caller.

    Arguments: the code; `reason` where the code has several causes; `message` in place of the standard words;
    `extras` are further members of the error body, such as `fields`, `retry_after` (seconds) or `conversation_id`.
    `sqlstate` is the database's own code of a fault that it raised: in no body under /api. `connection` is none where
    no connection could be had for a call, lost where it ended in the middle of one.
    """

    sqlstate: str | None = None
    connection: Literal["none", "lost"] | None = None

    def __init__(self, code: Code, *, reason: str | None = None, message: str | None = None, **extras: Any) -> None:  # noqa: ANN401  values of a JSON body
        self.code = code
        self.reason = reason
        if message is None and code is Code.RATE_LIMITED and "retry_after" in extras:
            message = wait_words(extras["retry_after"])
        self.message = message or words(code, reason)
        self.extras = extras
        super().__init__(f"{code}: {self.message}")

    @property
    def status(self) -> int:
        """The HTTP status of the code."""
        return STATUS[self.code]

    @classmethod
    def invalid(cls, /, **fields: str) -> "CareError":
        """A `validation_error` whose `fields` say what to mend, one sentence a field."""
        return cls(Code.VALIDATION_ERROR, message=" ".join(fields.values()) or None, fields=fields)


class SettingsError(Exception):
    """The environment or the machine does not allow a start. The message names the setting and the rule."""


def from_sqlstate(sqlstate: str | None) -> CareError:
    """What a caller is told about a database fault that was raised, not returned.

    Transient classes become `unavailable` with `retry_after` of 1 second, all else `rpc_error`. No text of the
    driver's is used: it can name tables and constraints (rule 7).
    """
    transient = sqlstate is not None and sqlstate[:2] in TRANSIENT_CLASSES
    error = CareError(Code.UNAVAILABLE, retry_after=1) if transient else CareError(Code.RPC_ERROR)
    error.sqlstate = sqlstate
    return error
