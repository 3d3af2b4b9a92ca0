"""What a call can end in besides its result: an exception class for every code, and those for no answer at all.

Words come from the server as it sent them; programs look at the class and its attributes, never at the words.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar, Final
from uuid import UUID

import httpx

from care_collective.client.problem import Problem, read
from care_collective.errors import Code


class CareClientError(Exception):
    """The root of everything that a call raises.

    `key` is the idempotency key of a write. Where it is not known whether the write was done, the same call with
    `key=error.key` finds out and does it where it was not.
    """

    CODE: ClassVar[Code | None] = None
    key: str | None = None

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem)

    def __str__(self) -> str:
        reference = f" (reference {self.request_id})" if self.request_id else ""
        return f"{self.code or self.status or type(self).__name__}: {self.problem.words}{reference}"

    @property
    def message(self) -> str:
        """Words for a person."""
        return self.problem.words

    @property
    def status(self) -> int | None:
        """The HTTP status, or None where no answer came."""
        return self.problem.status

    @property
    def code(self) -> str | None:
        """The code as the server sent it; also one that this client does not know."""
        return self.problem.code

    @property
    def request_id(self) -> str | None:
        """The reference to quote when asking an operator."""
        return self.problem.request_id

    @property
    def reason(self) -> str | None:
        """Which of the code's causes it was."""
        return self.problem.reason


class ConnectionFailed(CareClientError):  # noqa: N818  named for what happened
    """No answer, or not a whole one: the write may have been done or not. See `key`."""


class UnreadableAnswer(CareClientError):  # noqa: N818  named for what happened
    """A success that is none of this API's: another server answered, or a newer one than this client understands."""


class Refused(CareClientError):  # noqa: N818  named for what happened
    """The server does not do this (4xx)."""


class Failed(CareClientError):  # noqa: N818  named for what happened
    """The server could not do this (5xx)."""


class ConversationExists(Refused):
    """This helper has a conversation on this request already: open that."""

    CODE = Code.CONVERSATION_EXISTS

    @property
    def conversation_id(self) -> UUID:
        """The conversation there is."""
        assert self.problem.conversation_id is not None  # from_answer makes no such exception without one
        return self.problem.conversation_id

    @property
    def state(self) -> str | None:
        """The status of that conversation."""
        return self.problem.state


class HelpRequestUnavailable(Refused):
    """The request takes no offers any more."""

    CODE = Code.HELP_REQUEST_UNAVAILABLE


class PermissionDenied(Refused):
    """`reason`: not_approved, restricted, not_participant, not_active, role or csrf."""

    CODE = Code.PERMISSION_DENIED

    @property
    def restriction(self) -> str | None:
        """For `restricted`: limited, suspended or banned."""
        return self.problem.restriction

    @property
    def until(self) -> datetime | None:
        """For `restricted`: when it ends, None where it does not end by itself."""
        return self.problem.until

    @property
    def why(self) -> str | None:
        """For `restricted`: the coordinator's words."""
        return self.problem.why

    @property
    def state(self) -> str | None:
        """For `not_active`: the conversation's status."""
        return self.problem.state


class ValidationFailed(Refused):
    """The input breaks a rule. One's own request has `reason` own_request."""

    CODE = Code.VALIDATION_ERROR

    @property
    def fields(self) -> Mapping[str, str]:
        """A sentence for each field to mend."""
        return self.problem.fields or {}


class NotFound(Refused):
    """Nothing such for the caller: absent, another's and blocked look alike."""

    CODE = Code.NOT_FOUND


class RateLimited(Refused):
    """Too much in a short time."""

    CODE = Code.RATE_LIMITED

    @property
    def retry_after(self) -> int | None:
        """Seconds until it is allowed again."""
        return self.problem.retry_after


class IdempotencyMismatch(Refused):
    """This key was used with another content. Only a key of one's own can lead here."""

    CODE = Code.IDEMPOTENCY_MISMATCH


class Conflict(Refused):
    """Not possible in the present state. `reason`: state, or already_reported."""

    CODE = Code.CONFLICT

    @property
    def state(self) -> str | None:
        """The conversation's or request's status, where that is in the way."""
        return self.problem.state

    @property
    def help_request_status(self) -> str | None:
        """The status of the request a conversation is about, where that is in the way."""
        return self.problem.help_request_status


class MethodNotAllowed(Refused):
    """This path does not take this method."""

    CODE = Code.METHOD_NOT_ALLOWED


class TooLarge(Refused):
    """The body is too large."""

    CODE = Code.TOO_LARGE


class UnsupportedMediaType(Refused):
    """The body was not sent as JSON."""

    CODE = Code.UNSUPPORTED_MEDIA_TYPE


class Unauthenticated(Refused):
    """No valid token, or a wrong password."""

    CODE = Code.UNAUTHENTICATED


class Unavailable(Failed):
    """The server or its database is away or overloaded; every attempt ended so."""

    CODE = Code.UNAVAILABLE

    @property
    def retry_after(self) -> int | None:
        """Seconds after which another attempt makes sense."""
        return self.problem.retry_after


class RpcError(Failed):
    """The call failed for a reason that another attempt does not mend. Quote `request_id`."""

    CODE = Code.RPC_ERROR


class ServerError(Failed):
    """A fault of the server's. Quote `request_id`."""

    CODE = Code.SERVER_ERROR


_CLASSES: Final = (
    ConversationExists,
    HelpRequestUnavailable,
    PermissionDenied,
    ValidationFailed,
    NotFound,
    RateLimited,
    IdempotencyMismatch,
    Conflict,
    MethodNotAllowed,
    TooLarge,
    UnsupportedMediaType,
    Unauthenticated,
    Unavailable,
    RpcError,
    ServerError,
)
BY_CODE: Final[Mapping[str, type[CareClientError]]] = {str(each.CODE): each for each in _CLASSES}
# What a proxy in front of the server says of its own accord, without a code.
_BY_STATUS: Final[Mapping[int, type[CareClientError]]] = {429: RateLimited, 503: Unavailable}


def from_answer(answer: httpx.Response) -> CareClientError:
    """The exception of an answer that is no success.

    A code that this client does not know, or none at all, leads to the base of its status: RateLimited for 429,
    Unavailable for 503, else Refused below 500 and Failed from there on.
    """
    problem = read(answer)
    base = _BY_STATUS.get(answer.status_code, Failed if answer.status_code >= 500 else Refused)
    kind = BY_CODE.get(problem.code or "", base)
    return (base if kind is ConversationExists and problem.conversation_id is None else kind)(problem)
