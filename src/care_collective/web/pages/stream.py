"""The live stream (SSE) of pages: what programs are told too, as the same parts of HTML that the pages are made of.

Its events are htmx's: parts that take the place of those with their id. The loop is web/streams.py's.
"""

import re
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Router, get
from litestar.params import FromQuery
from litestar.response import Stream as StreamResponse

from care_collective.web import errors, security, streams
from care_collective.web.api import schemas
from care_collective.web.body import check_query
from care_collective.web.pages import forms, threads
from care_collective.web.pages.clock import Clock
from care_collective.web.pages.environments import ENVIRONMENTS
from care_collective.web.pages.rendering import AnyRequest, Member, frame, require_member

# Server-sent events end a line at each of these; in any other place one would let a message write events of its own.
_LINES: Final = re.compile(r"\r\n|\r|\n")


@get("/messages/stream", media_type="text/event-stream", exception_handlers={Exception: errors.answer})
async def stream(
    request: AnyRequest,
    conversation: FromQuery[UUID | None] = None,
    after: schemas.Place = None,
    last_event_id: streams.LastEventId = None,
) -> StreamResponse:
    """What happens, for the open page of whoever is signed in; with a conversation its messages after a place.

    A refusal is no page and leads nowhere: whoever asks is a script.
    """
    named = streams.read_place(last_event_id)
    rendering = _Html(request, await require_member(request), conversation)
    return await streams.answer(request, rendering, conversation, after if named is None else named)


class _Html:
    """Says what was found in the reader's language and time zone."""

    # An event and no comment: the page counts the seconds since it heard anything.
    alive = b"event: care:alive\ndata:\n\n"
    # An inbox that comes back has missed what changed.
    first: streams.Changed = None

    def __init__(self, request: AnyRequest, member: Member, conversation_id: UUID | None) -> None:
        self._request = request
        self._member = member
        self._conversation_id = conversation_id
        self._frame: dict[str, Any] = {}
        self._thread: schemas.Conversation | None = None
        self._rows: list[schemas.Conversation] = []
        self._told: set[UUID] = set()

    async def prepare(self, found: streams.Found, changed: streams.Changed) -> None:
        """Looks at the reader anew, unless a hint says what happened, and at the changed rows."""
        if not self._frame or not changed:
            self._member = await require_member(self._request)
            self._frame = await frame(self._request, self._member)
        clock: Clock = self._frame["clock"]
        self._frame["clock"] = replace(clock, now=security.services(self._request).now())
        self._rows = [msgspec.json.decode(row, type=schemas.Conversation) for row in found.conversations]
        self._thread = next((one for one in self._rows if one.id == self._conversation_id), self._thread)

    def message(self, message: msgspec.Raw) -> tuple[int, bytes]:
        """A message as a day of its own: the page joins it to the last one."""
        one = msgspec.json.decode(message, type=schemas.Message)
        days = threads.by_day([one], self._member.user_id, self._frame["clock"])
        return one.seq, self._rendered("live/message.html", day=days[0], conversation=self._thread)

    def state(self, found: streams.Found, changed: streams.Changed) -> bytes:
        """What is unread, the rows that changed, and how the open thread stands where it is among them."""
        thread = self._thread if self._thread in self._rows else None
        parts = self._rendered(
            "live/state.html",
            unread=msgspec.json.decode(found.unread, type=schemas.Unread),
            rows=self._rows,
            offered=self._offered() if changed is not None else [],
            conversation=thread,
            current=self._conversation_id,
            form={"content": "", "key": forms.new_key(self._request)},
            errors={},
            verb_key=forms.new_key(self._request),
        )
        # Pages that show more than a stream tells read themselves again.
        return parts + b"\n" + (b"event: care:changed\ndata:\n\n" if changed and self._rows else b"")

    def _offered(self) -> list[schemas.Conversation]:
        new = [
            one
            for one in self._rows
            if one.role == "requester" and one.last_seq == 0 and one.unread and one.id not in self._told
        ]
        self._told |= {one.id for one in new}
        return new

    def _rendered(self, template: str, **context: object) -> bytes:
        clock: Clock = self._frame["clock"]
        html = ENVIRONMENTS[clock.language.code].get_template(template).render({**self._frame, **context})
        return "".join(f"data: {line}\n" for line in _LINES.split(html.strip())).encode()


router = Router("/", include_in_schema=False, before_request=check_query, route_handlers=[stream])
