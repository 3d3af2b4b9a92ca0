"""What an answer says about a call that did not succeed, as plain values."""

from uuid import UUID

import httpx
import msgspec

from care_collective.client.models import Moment


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """The error body of contract.md, section 3, as far as whoever answered gave it.

    `status` is HTTP's, None where no answer came; `state` is the body's: the status of the thing that was in the way.
    `request_id` is the reference to quote to operators; `retry_after` is in seconds.
    """

    words: str = msgspec.field(name="error")
    status: int | None = msgspec.field(name="http_status", default=None)
    code: str | None = None
    request_id: str | None = None
    reason: str | None = None
    fields: dict[str, str] | None = None
    conversation_id: UUID | None = None
    state: str | None = msgspec.field(name="status", default=None)
    help_request_status: str | None = None
    retry_after: int | None = None
    restriction: str | None = None
    until: Moment | None = None
    why: str | None = None


def read(answer: httpx.Response) -> Problem:
    """The problem in an answer that is no success, whoever made it."""
    try:
        told = msgspec.json.decode(answer.content, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = Problem(words=f"The server answered {answer.status_code} without one of this API's codes.")
    return msgspec.structs.replace(
        told,
        status=answer.status_code,
        request_id=told.request_id or answer.headers.get("x-request-id"),
        retry_after=told.retry_after if told.retry_after is not None else _seconds(answer),
    )


def _seconds(answer: httpx.Response) -> int | None:
    value = answer.headers.get("retry-after", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None
