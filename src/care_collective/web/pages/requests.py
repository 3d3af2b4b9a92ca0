"""Help requests as pages: browse, read, offer, ask, one's own, and what an owner does with them."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, cast
from uuid import UUID

import msgspec
from litestar import Response, Router, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from care_collective import text
from care_collective.db.call import Answer, Caller
from care_collective.errors import CareError, Code
from care_collective.requests.service import CATEGORIES, URGENCIES, Ask, Category, Filters, Urgency
from care_collective.web import security
from care_collective.web.api.schemas import (
    ConversationPage,
    HelpRequest,
    HelpRequestAnswer,
    HelpRequestPage,
    MessagePage,
)
from care_collective.web.pages import forms
from care_collective.web.pages.language import mark as _
from care_collective.web.pages.rendering import AnyRequest, Member, page, require_member

ASKED = ("title", "description", "category", "urgency", "exchange_offer")
# What a page says once, after a form led to it.
NOTICES = frozenset({"asked", "changed", "completed", "cancelled", "reopened"})


def _choice(request: AnyRequest, name: str, choices: tuple[Any, ...]) -> Any:  # noqa: ANN401  one of the choices
    wished = request.query_params.get(name)
    return wished if wished in choices else None


@get("/requests")
async def browse(request: AnyRequest) -> Response[Any]:
    """What neighbours ask for, newest first; by category, urgency and words."""
    member = await require_member(request)
    filters = Filters(
        cursor=request.query_params.get("cursor") or None,
        category=_choice(request, "category", CATEGORIES),
        urgency=_choice(request, "urgency", URGENCIES),
        search=request.query_params.get("search") or None,
    )
    found = HelpRequestPage(success=True, help_requests=[], next_cursor=None)
    errors: dict[str, str] = {}
    try:
        answer = await security.services(request).requests.list(request.user, filters)
        found = msgspec.json.decode(answer.success(), type=HelpRequestPage)
    except CareError as error:
        if error.code is not Code.VALIDATION_ERROR:
            raise
        errors = forms.fields_of(error)
    return await page(
        request,
        "requests/browse.html",
        member=member,
        status=400 if errors else 200,
        found=found,
        filters=filters,
        errors=errors,
        categories=CATEGORIES,
        urgencies=URGENCIES,
    )


@get("/requests/mine")
async def mine(request: AnyRequest) -> Response[str]:
    """One's own requests, newest first, each with the offers on it while it takes any."""
    member = await require_member(request)
    services = security.services(request)
    filters = Filters(cursor=request.query_params.get("cursor") or None, limit=10, status="all", mine=True)
    answer = await services.requests.list(request.user, filters)
    found = msgspec.json.decode(answer.success(), type=HelpRequestPage)
    open_ids = [one.id for one in found.help_requests if one.status in {"open", "in_progress"}]
    pages = await services.messaging.list_offers_on(request.user, open_ids)
    offers = {one: msgspec.json.decode(text.success(), type=ConversationPage) for one, text in pages.items()}
    return await page(request, "requests/mine.html", member=member, found=found, offers=offers, cursor=filters.cursor)


@get("/requests/new")
async def ask_form(request: AnyRequest) -> Response[str]:
    """The form to ask for help."""
    member = await require_member(request)
    form = {"urgency": "normal", "key": forms.new_key(request)}
    return await _ask_page(request, member=member, form=form, errors={})


async def _ask_page(
    request: AnyRequest,
    *,
    member: Member | None = None,
    edited: UUID | None = None,
    **context: Any,  # noqa: ANN401
) -> Response[str]:
    return await page(
        request,
        "requests/ask.html",
        member=member or await require_member(request),
        edited=edited,
        categories=CATEGORIES,
        urgencies=URGENCIES,
        **context,
    )


def _asked(form: Mapping[str, str]) -> Ask:
    # What is no choice is refused by field with all the rest, by the service.
    return Ask(
        title=form["title"],
        category=cast(Category, form["category"]),
        description=form["description"],
        urgency=cast(Urgency, form["urgency"] or "normal"),
        exchange_offer=form["exchange_offer"],
    )


@post("/requests")
async def ask(request: AnyRequest) -> Response[Any]:
    """Asks for help and leads to the new request; else the form again, with what was typed."""
    form = await forms.sent(request, *ASKED)
    try:
        _, caller = await forms.author(request, form)
        answer = await security.services(request).requests.create(caller, _asked(form))
        made = answer.data()["help_request_id"]
    except CareError as error:
        return await forms.refused(request, error, form, _ask_page, back="/requests/new")
    return forms.see_other(f"/requests/{made}?done=asked")


async def _read(request: AnyRequest, help_request_id: UUID) -> HelpRequest:
    answer = await security.services(request).requests.get(request.user, help_request_id)
    return msgspec.json.decode(answer.success(), type=HelpRequestAnswer).help_request


@get("/requests/{help_request_id:uuid}/edit")
async def edit_form(request: AnyRequest, help_request_id: FromPath[UUID]) -> Response[Any]:
    """The form to rewrite one of one's own requests; anything else leads back to the request."""
    member = await require_member(request)
    one = await _read(request, help_request_id)
    if not one.is_mine or one.status not in {"open", "in_progress"}:
        return forms.see_other(f"/requests/{help_request_id}")
    form = {name: getattr(one, name) or "" for name in ASKED} | {"key": forms.new_key(request)}
    return await _ask_page(request, member=member, form=form, errors={}, edited=help_request_id)


@post("/requests/{help_request_id:uuid}/edit")
async def edit(request: AnyRequest, help_request_id: FromPath[UUID]) -> Response[Any]:
    """Rewrites one of one's own requests; else the form again, with what was typed."""
    form = await forms.sent(request, *ASKED)
    try:
        _, caller = await forms.author(request, form)
        (await security.services(request).requests.update(caller, help_request_id, _asked(form))).success()
    except CareError as error:
        shown = partial(_ask_page, edited=help_request_id)
        return await forms.refused(request, error, form, shown, back=f"/requests/{help_request_id}/edit")
    return forms.see_other(f"/requests/{help_request_id}?done=changed")


@get("/requests/{help_request_id:uuid}")
async def show(request: AnyRequest, help_request_id: FromPath[UUID]) -> Response[str]:
    """One request: for others the form to offer help, for its owner the offers and what can be done."""
    await require_member(request)
    form = {"initial_message": "", "key": forms.new_key(request)}
    return await _request_page(request, help_request_id, form=form, errors={})


async def _request_page(request: AnyRequest, help_request_id: UUID, **context: Any) -> Response[str]:  # noqa: ANN401
    member = await require_member(request)
    one = await _read(request, help_request_id)
    offers = None
    cursor = request.query_params.get("cursor") or None
    if one.is_mine:
        messaging = security.services(request).messaging
        answer = await messaging.list_offers(request.user, help_request_id, cursor=cursor, limit=50)
        offers = msgspec.json.decode(answer.success(), type=ConversationPage)
    return await page(
        request,
        "requests/show.html",
        member=member,
        one=one,
        offers=offers,
        cursor=cursor,
        done=forms.notice_of(request, NOTICES),
        verb_key=forms.new_key(request),
        **context,
    )


@post("/requests/{help_request_id:uuid}/offer")
async def offer(request: AnyRequest, help_request_id: FromPath[UUID]) -> Response[Any]:
    """Offers help and leads to the conversation, the one there is already after a second tap."""
    form = await forms.sent(request, "initial_message")
    try:
        _, caller = await forms.author(request, form)
        messaging = security.services(request).messaging
        result = await messaging.start_help_conversation(caller, help_request_id, form["initial_message"])
        if result.error is not Code.CONVERSATION_EXISTS:
            result.raised()
        elif not await _began_with(request, result.conversation_id, form["initial_message"]):
            return await _instead(request, result.conversation_id, form)
    except CareError as error:
        return await _refused(request, help_request_id, form, error)
    done = "offered" if result.success else "exists"
    return forms.see_other(f"/messages/{result.conversation_id}?done={done}#latest")


async def _began_with(request: AnyRequest, conversation_id: UUID | None, words: str) -> bool:
    """Whether these are the words that opened a conversation: an offer from a second tab is the same one."""
    assert conversation_id is not None  # a conversation that exists is named (contract.md)
    messaging = security.services(request).messaging
    answer = await messaging.get_messages(request.user, conversation_id, before=1, after=None, limit=1)
    found = msgspec.json.decode(answer.success(), type=MessagePage).messages
    return [one.content for one in found] == [text.trim(words)]


async def _instead(request: AnyRequest, conversation_id: UUID | None, form: Mapping[str, str]) -> Response[Any]:
    """Other words than those that opened the conversation there is, to be sent there with one tap."""
    return await page(
        request,
        "accounts/kept.html",
        member=await require_member(request),
        path=f"/messages/{conversation_id}",
        words={"content": form["initial_message"]},
        key=forms.new_key(request),
        lede=_(
            "You had already written about this request. "
            "These words have not been sent: look them over, then send them."
        ),
    )


async def _refused(request: AnyRequest, help_request_id: UUID, form: dict[str, str], error: CareError) -> Response[Any]:
    """The request's page again, with the refusal and what was typed."""
    back = f"/requests/{help_request_id}"
    if error.code is Code.UNAUTHENTICATED:
        return await forms.sign_in_again(request, form, back)
    await require_member(request)  # so that a request that is gone is told with the member's own frame
    if error.code is Code.NOT_FOUND or error.reason == forms.ANOTHER:
        raise error
    if form.get("initial_message") and (there := (await _read(request, help_request_id)).conversation) is not None:
        return await _instead(request, there.id, form)  # the page has no form for an offer any more
    again = await _request_page(
        request,
        help_request_id,
        status=error.status,
        form={"initial_message": "", **forms.kept(request, form, error)},
        errors=forms.fields_of(error),
    )
    return forms.with_error(request, again, error)


async def _move(
    request: AnyRequest,
    help_request_id: UUID,
    verb: Callable[[Caller, Mapping[str, str]], Awaitable[Answer]],
    done: str,
) -> Response[Any]:
    form = await forms.sent(request, "reason")
    try:
        _, caller = await forms.author(request, form)
        (await verb(caller, form)).success()
    except CareError as error:
        return await _refused(request, help_request_id, form, error)
    return forms.see_other(f"/requests/{help_request_id}?done={done}")


@post("/requests/{help_request_id:uuid}/cancel")
async def cancel(request: AnyRequest, help_request_id: FromPath[UUID]) -> Response[Any]:
    """Takes a request back, with an optional reason."""
    requests = security.services(request).requests
    return await _move(
        request, help_request_id, lambda who, form: requests.cancel(who, help_request_id, form["reason"]), "cancelled"
    )


@post("/requests/{help_request_id:uuid}/complete")
async def complete(request: AnyRequest, help_request_id: FromPath[UUID]) -> Response[Any]:
    """Marks a request as done."""
    requests = security.services(request).requests
    return await _move(request, help_request_id, lambda who, _: requests.complete(who, help_request_id), "completed")


@post("/requests/{help_request_id:uuid}/reopen")
async def reopen(request: AnyRequest, help_request_id: FromPath[UUID]) -> Response[Any]:
    """Opens a completed or cancelled request again."""
    requests = security.services(request).requests
    return await _move(request, help_request_id, lambda who, _: requests.reopen(who, help_request_id), "reopened")


@get(
    [
        "/requests/{help_request_id:uuid}/offer",
        "/requests/{help_request_id:uuid}/cancel",
        "/requests/{help_request_id:uuid}/complete",
        "/requests/{help_request_id:uuid}/reopen",
    ]
)
async def back_to(help_request_id: FromPath[UUID]) -> Redirect:
    """A form's own address, opened or reloaded after a refusal, leads to the request."""
    return forms.see_other(f"/requests/{help_request_id}")


router = Router(
    "/",
    include_in_schema=False,
    route_handlers=[
        browse, mine, ask_form, ask, edit_form, edit, show, offer, cancel, complete, reopen, back_to,
    ],
)  # fmt: skip
