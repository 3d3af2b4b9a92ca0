"""The verbs of a help request. Rules and rights are in SQL; here the input is checked by the same rules first."""

from typing import Annotated, Final, Literal, get_args
from uuid import UUID

import msgspec

from care_collective import text
from care_collective.db.call import Answer, Caller, Database
from care_collective.errors import CareError

Category = Literal[
    "health-caregiving",
    "groceries-meals",
    "transportation-errands",
    "household-yard",
    "technology-administrative",
    "social-companionship",
    "other",
]
Urgency = Literal["normal", "urgent", "critical"]
Status = Literal["open", "in_progress", "completed", "cancelled", "closed"]
Listed = Literal["taking_offers", "all", "open", "in_progress", "completed", "cancelled", "closed"]
CATEGORIES: Final = get_args(Category)
URGENCIES: Final = get_args(Urgency)


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A help request as its owner writes it: title 5 to 100 characters, description to 1000, exchange_offer to 300."""

    title: Annotated[str, text.TITLE.described]
    category: Category
    description: Annotated[str | None, text.DESCRIPTION.described] = None
    urgency: Urgency = "normal"
    exchange_offer: Annotated[str | None, text.EXCHANGE_OFFER.described] = None


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests to list: `status` is a status, taking_offers or all; `search` words up to 100 characters."""

    cursor: str | None = None
    limit: int = 20
    status: Listed = "taking_offers"
    category: Category | None = None
    urgency: Urgency | None = None
    search: str | None = None
    mine: bool = False


def _check(ask: Ask) -> None:
    found = {
        "title": text.check(ask.title, *text.TITLE),
        "description": text.check(ask.description, *text.DESCRIPTION),
        "category": _check_choice(ask.category, CATEGORIES, "Choose one of the categories."),
        "urgency": _check_choice(ask.urgency, URGENCIES, "Choose normal, urgent or critical."),
        "exchange_offer": text.check(ask.exchange_offer, *text.EXCHANGE_OFFER),
    }
    _refuse(found)


def _check_filters(filters: Filters) -> None:
    _refuse(
        {
            "category": _check_choice(filters.category, (None, *CATEGORIES), "Choose one of the categories."),
            "urgency": _check_choice(filters.urgency, (None, *URGENCIES), "Choose normal, urgent or critical."),
        }
    )


def _check_choice(value: str | None, choices: tuple[str | None, ...], words: str) -> str | None:
    return None if value in choices else words


def _refuse(found: dict[str, str | None]) -> None:
    fields = {name: words for name, words in found.items() if words is not None}
    if fields:
        raise CareError.invalid(**fields)


class Requests:
    """Help requests of the caller's community."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, caller: Caller, ask: Ask) -> Answer:
        """Asks for help. Errors: CareError `validation_error` by field."""
        _check(ask)
        return await self._database.call("public.create_help_request", caller, **_named(ask))

    async def update(self, caller: Caller, help_request_id: UUID, ask: Ask) -> Answer:
        """Rewrites one of the caller's requests while it takes offers."""
        _check(ask)
        return await self._database.call(
            "public.update_help_request", caller, p_help_request_id=help_request_id, **_named(ask)
        )

    async def get(self, caller: Caller, help_request_id: UUID) -> Answer:
        """One request, as the caller sees it."""
        return await self._database.call("public.get_help_request", caller, p_help_request_id=help_request_id)

    async def list(self, caller: Caller, filters: Filters) -> Answer:
        """A page of requests, newest first; `limit` 1 to 50. Errors: CareError `validation_error` by field."""
        _check_filters(filters)
        return await self._database.call("public.list_help_requests", caller, **_named(filters))

    async def cancel(self, caller: Caller, help_request_id: UUID, reason: str | None) -> Answer:
        """Takes a request back, with an optional reason of up to 500 characters."""
        return await self._database.call(
            "public.cancel_help_request", caller, p_help_request_id=help_request_id, p_reason=reason
        )

    async def complete(self, caller: Caller, help_request_id: UUID) -> Answer:
        """Marks a request as done."""
        return await self._database.call("public.complete_help_request", caller, p_help_request_id=help_request_id)

    async def reopen(self, caller: Caller, help_request_id: UUID) -> Answer:
        """Opens a completed or cancelled request again."""
        return await self._database.call("public.reopen_help_request", caller, p_help_request_id=help_request_id)


def _named(arguments: Ask | Filters) -> dict[str, object]:
    return {f"p_{name}": value for name, value in msgspec.structs.asdict(arguments).items()}
