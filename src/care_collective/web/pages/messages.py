"""Messages as pages: the list and the thread, writing, and what the two people decide. Both engines alike."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Response, Router, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from care_collective import text
from care_collective.db.call import Answer, Caller
from care_collective.errors import CareError, Code
from care_collective.messaging.service import Messaging
from care_collective.web import security
from care_collective.web.api.schemas import LAST_SEQ, ConversationPage, MessagePage
from care_collective.web.pages import forms, threads
from care_collective.web.pages.language import mark as _
from care_collective.web.pages.rendering import AnyRequest, Member, frame, page, require_member

PAGE: Final = 50
# What a thread says once, after a form led to it.
NOTICES: Final = frozenset(
    {"offered", "exists", "accepted", "declined", "closed", "reopened", "stepped-back", "released"}
    | {"muted", "unmuted", "archived", "unarchived", "blocked"}
)
FILTERS: Final = ("all", "unread", "archived")
# For how long a conversation can be muted. The last is until it is turned on again: the latest day there is.
MUTES: Final = {"hours": timedelta(hours=8), "week": timedelta(days=7), "always": None}
FOREVER: Final = datetime(9999, 12, 31, tzinfo=UTC)
_HOW_LONG: Final = _("Choose for how long.")
Verb = Callable[[Messaging, Caller, UUID, Mapping[str, str]], Awaitable[Answer]]


def _messaging(request: AnyRequest) -> Messaging:
    return security.services(request).messaging


async def _inbox(request: AnyRequest) -> dict[str, Any]:
    """The list, as it stands beside a thread and alone."""
    asked = request.query_params
    wished, cursor, search = asked.get("filter"), asked.get("cursor") or None, text.trim(asked.get("search") or "")
    filter_ = wished if wished in FILTERS else "all"
    problem = text.check(search, *text.SEARCH)
    found = ConversationPage(success=True, conversations=[], next_cursor=None)
    if problem is None:
        found = await _listed(request, cursor=cursor, limit=20, filter_=filter_, search=search or None)
    empty = filter_ == "all" and not (found.conversations or cursor or search)
    return {
        "inbox": found,
        "filter": filter_,
        "search": search,
        "search_error": problem,
        "further": cursor is not None,
        # What a stream tells belongs into the newest of all, and into no search.
        "newest": cursor is None and not search,
        "put_away": empty and bool((await _listed(request, cursor=None, limit=1, filter_="archived")).conversations),
    }


async def _listed(request: AnyRequest, **wanted: Any) -> ConversationPage:  # noqa: ANN401  what list_conversations takes
    answer = await _messaging(request).list_conversations(request.user, **wanted)
    return msgspec.json.decode(answer.success(), type=ConversationPage)


@get("/messages")
async def inbox(request: AnyRequest) -> Response[str]:
    """One's conversations of both engines, by last activity."""
    member = await require_member(request)
    return await page(request, "messages/inbox.html", member=member, **await _inbox(request))


def _place(request: AnyRequest, name: str) -> int | None:
    """A seq in the address; None for what is none."""
    value = request.query_params.get(name, "")
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 11 and int(value) <= LAST_SEQ else None


@get("/messages/{conversation_id:uuid}")
async def thread(request: AnyRequest, conversation_id: FromPath[UUID]) -> Response[str]:
    """A thread, the newest messages or those before or after a place. What is shown to its end counts as read."""
    member = await require_member(request)
    return await _thread(
        request, conversation_id, member, form={"content": "", "key": forms.new_key(request)}, errors={}
    )


async def _thread(request: AnyRequest, conversation_id: UUID, member: Member, **context: Any) -> Response[str]:  # noqa: ANN401
    before = _place(request, "before")
    after = _place(request, "after") if before is None else None
    answer = await _messaging(request).get_messages(
        request.user, conversation_id, before=before, after=after, limit=PAGE
    )
    found = msgspec.json.decode(answer.success(), type=MessagePage)
    marked = await _mark(request, found, member)
    clock = (await frame(request, marked))["clock"]
    first, last = (found.messages[0].seq, found.messages[-1].seq) if found.messages else (0, -1)
    conversation = found.conversation
    # Days are the reader's own, by their time zone: they are laid out here, not in the template.
    return await page(
        request,
        "messages/thread.html",
        member=marked,
        **{
            **await _inbox(request),
            "conversation": conversation,
            "days": threads.by_day(found.messages, member.user_id, clock),
            "older": first if first > 0 else None,
            "newer": last if last < conversation.last_seq else None,
            "after": conversation.last_seq,
            "done": forms.notice_of(request, NOTICES),
            "verb_key": forms.new_key(request),
            **context,
        },
    )


async def _mark(request: AnyRequest, found: MessagePage, member: Member) -> Member:
    """Marks a thread as read up to the last message shown, where any was unread; the member who has less to read."""
    # A browser that fetches a page ahead of its reader reads nothing, and a refused form writes nothing.
    ahead = "sec-purpose" in request.headers or "purpose" in request.headers or request.method != "GET"
    # Of an end or an answer one can be told where nothing is unread.
    nothing = found.conversation.unread == 0 and member.unread.notifications == 0
    if not found.messages or nothing or ahead:
        return member
    try:
        answer = await _messaging(request).mark_read(request.user, found.conversation.id, found.messages[-1].seq)
        rest = answer.data()["unread"]
        told = (await security.services(request).notifications.count_unread(request.user)).data()["unread"]
    except CareError as error:
        if error.code is not Code.UNAVAILABLE:  # who is locked for a moment still reads; the mark follows next time
            raise
        return member
    done = found.conversation.unread > 0 and rest == 0
    unread = msgspec.structs.replace(
        member.unread, conversations=member.unread.conversations - done, notifications=told
    )
    return msgspec.structs.replace(member, unread=unread)


@post("/messages/{conversation_id:uuid}")
async def send(request: AnyRequest, conversation_id: FromPath[UUID]) -> Response[Any]:
    """Writes a message and leads to it; else the thread again, with what was typed."""
    form = await forms.sent(request, "content")
    try:
        _, caller = await forms.author(request, form)
        (await _messaging(request).send_message(caller, conversation_id, form["content"])).raised()
    except CareError as error:
        return await _refused(request, conversation_id, form, error)
    return forms.see_other(f"/messages/{conversation_id}#latest")


async def _refused(request: AnyRequest, conversation_id: UUID, form: dict[str, str], error: CareError) -> Response[Any]:
    """The thread again, with the refusal and what was typed."""
    if error.code is Code.UNAUTHENTICATED:
        return await forms.sign_in_again(request, form, f"/messages/{conversation_id}")
    member = await require_member(request)
    if error.reason in {"not_participant", forms.ANOTHER}:
        raise error
    again = await _thread(
        request,
        conversation_id,
        member,
        status=error.status,
        form={"content": "", **forms.kept(request, form, error)},
        errors=forms.fields_of(error),
    )
    return forms.with_error(request, again, error)


async def _decide(request: AnyRequest, conversation_id: UUID, verb: Verb, done: str) -> Response[Any]:
    form = await forms.sent(request, "reason", "for")
    try:
        _, caller = await forms.author(request, form)
        (await verb(_messaging(request), caller, conversation_id, form)).success()
    except CareError as error:
        # The composer gets a key of its own: this one was for the verb.
        return await _refused(request, conversation_id, {**form, "key": ""}, error)
    return forms.see_other(f"/messages/{conversation_id}?done={done}#latest")


@post("/messages/{conversation_id:uuid}/accept")
async def accept(request: AnyRequest, conversation_id: FromPath[UUID]) -> Response[Any]:
    """Accepts an offer on one's own request."""
    return await _decide(request, conversation_id, lambda do, who, one, _: do.accept_offer(who, one), "accepted")


@post("/messages/{conversation_id:uuid}/decline")
async def decline(request: AnyRequest, conversation_id: FromPath[UUID]) -> Response[Any]:
    """Declines an offer, with an optional reason that the helper reads."""
    return await _decide(
        request, conversation_id, lambda do, who, one, form: do.decline_offer(who, one, form["reason"]), "declined"
    )


@post("/messages/{conversation_id:uuid}/close")
async def close(request: AnyRequest, conversation_id: FromPath[UUID]) -> Response[Any]:
    """Closes a conversation; both can still read it."""
    return await _decide(request, conversation_id, lambda do, who, one, _: do.close_conversation(who, one), "closed")


@post("/messages/{conversation_id:uuid}/reopen")
async def reopen(request: AnyRequest, conversation_id: FromPath[UUID]) -> Response[Any]:
    """Reopens a conversation that one declined or closed."""
    return await _decide(request, conversation_id, lambda do, who, one, _: do.reopen_conversation(who, one), "reopened")


@post("/messages/{conversation_id:uuid}/step-back")
async def step_back(request: AnyRequest, conversation_id: FromPath[UUID]) -> Response[Any]:
    """The accepted helper gives the request back."""
    return await _decide(request, conversation_id, lambda do, who, one, _: do.step_back(who, one), "stepped-back")


@post("/messages/{conversation_id:uuid}/release")
async def release(request: AnyRequest, conversation_id: FromPath[UUID]) -> Response[Any]:
    """The owner releases the accepted helper."""
    return await _decide(request, conversation_id, lambda do, who, one, _: do.release_helper(who, one), "released")


async def _mute(now: datetime, do: Messaging, who: Caller, one: UUID, form: Mapping[str, str]) -> Answer:
    if form["for"] not in MUTES:
        raise CareError.invalid(**{"for": _HOW_LONG})
    length = MUTES[form["for"]]
    until = FOREVER if length is None else now + length
    # Without the form's key: a second tap names another moment, and does no harm.
    return await do.mute_conversation(replace(who, idempotency_key=None), one, until)


async def _block(do: Messaging, who: Caller, one: UUID, _: Mapping[str, str]) -> Answer:
    answer = await do.get_messages(who, one, before=None, after=None, limit=1)
    found = msgspec.json.decode(answer.success(), type=MessagePage)
    return await do.block_user(who, found.conversation.other.user_id)


@post("/messages/{conversation_id:uuid}/mute")
async def mute(request: AnyRequest, conversation_id: FromPath[UUID]) -> Response[Any]:
    """Mutes a conversation for a while, for oneself alone."""
    return await _decide(request, conversation_id, partial(_mute, security.services(request).now()), "muted")


@post("/messages/{conversation_id:uuid}/unmute")
async def unmute(request: AnyRequest, conversation_id: FromPath[UUID]) -> Response[Any]:
    """Ends that."""
    return await _decide(
        request, conversation_id, lambda do, who, one, _: do.mute_conversation(who, one, None), "unmuted"
    )


@post("/messages/{conversation_id:uuid}/archive")
async def archive(request: AnyRequest, conversation_id: FromPath[UUID]) -> Response[Any]:
    """Puts a conversation away, for oneself alone."""
    return await _decide(
        request, conversation_id, lambda do, who, one, _: do.archive_conversation(who, one, archived=True), "archived"
    )


@post("/messages/{conversation_id:uuid}/unarchive")
async def unarchive(request: AnyRequest, conversation_id: FromPath[UUID]) -> Response[Any]:
    """Brings it back into the list."""
    return await _decide(
        request,
        conversation_id,
        lambda do, who, one, _: do.archive_conversation(who, one, archived=False),
        "unarchived",
    )


@post("/messages/{conversation_id:uuid}/block")
async def block(request: AnyRequest, conversation_id: FromPath[UUID]) -> Response[Any]:
    """Blocks the other one, who is not told."""
    return await _decide(request, conversation_id, _block, "blocked")


@get([f"/messages/{{conversation_id:uuid}}/{verb}" for verb in (
    "accept", "decline", "close", "reopen", "step-back", "release", "mute", "unmute", "archive", "unarchive", "block",
)])  # fmt: skip
async def back_to(conversation_id: FromPath[UUID]) -> Redirect:
    """A form's own address, opened or reloaded after a refusal, leads to the thread."""
    return forms.see_other(f"/messages/{conversation_id}")


router = Router(
    "/",
    include_in_schema=False,
    route_handlers=[
        *(inbox, thread, send, accept, decline, close, reopen, step_back, release),
        *(mute, unmute, archive, unarchive, block, back_to),
    ],
)
