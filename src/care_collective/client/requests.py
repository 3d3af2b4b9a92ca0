"""Help requests: ask, browse, change, end."""

from collections.abc import AsyncIterator
from uuid import UUID

from care_collective.client.calls import Calls, part
from care_collective.client.models import HelpRequest, HelpRequestAnswer, HelpRequestMoved, HelpRequestPage

_PATH = "/api/requests"


class Requests:
    """`client.requests`. Every method raises CareClientError; of a write it has the `key`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def create(
        self,
        title: str,
        category: str,
        *,
        description: str | None = None,
        urgency: str = "normal",
        exchange_offer: str | None = None,
        key: str | None = None,
    ) -> HelpRequestMoved:
        """Asks for help.

        `title` 5 to 100 characters, `description` up to 1000, `exchange_offer` up to 300; `category` one of
        health-caregiving, groceries-meals, transportation-errands, household-yard, technology-administrative,
        social-companionship, other; `urgency` normal, urgent or critical.
        """
        body = _ask(title, category, description, urgency, exchange_offer)
        return await self._calls.write("POST", _PATH, HelpRequestMoved, body=body, key=key)

    async def list(
        self,
        *,
        cursor: str | None = None,
        limit: int = 20,
        status: str = "taking_offers",
        category: str | None = None,
        urgency: str | None = None,
        search: str | None = None,
        mine: bool = False,
    ) -> HelpRequestPage:
        """A page of the community's requests, newest first.

        `limit` 1 to 50; `status` is a status, taking_offers or all; `search` words of up to 100 characters; `mine`
        only one's own; `cursor` the `next_cursor` of the page before.
        """
        return await self._calls.read(
            _PATH,
            HelpRequestPage,
            cursor=cursor,
            limit=limit,
            status=status,
            category=category,
            urgency=urgency,
            search=search,
            mine=mine,
        )

    async def each(
        self,
        *,
        limit: int = 50,
        status: str = "taking_offers",
        category: str | None = None,
        urgency: str | None = None,
        search: str | None = None,
        mine: bool = False,
    ) -> AsyncIterator[HelpRequest]:
        """Every request that `list` would page through, `limit` a call."""
        cursor: str | None = None
        while True:
            page = await self.list(
                cursor=cursor,
                limit=limit,
                status=status,
                category=category,
                urgency=urgency,
                search=search,
                mine=mine,
            )
            for found in page.help_requests:
                yield found
            cursor = page.next_cursor
            if cursor is None:
                return

    async def get(self, help_request_id: UUID) -> HelpRequest:
        """One request. Errors: NotFound also for one that is not the caller's to see."""
        return (await self._calls.read(f"{_PATH}/{part(help_request_id)}", HelpRequestAnswer)).help_request

    async def update(
        self,
        help_request_id: UUID,
        title: str,
        category: str,
        *,
        description: str | None = None,
        urgency: str = "normal",
        exchange_offer: str | None = None,
        key: str | None = None,
    ) -> HelpRequestMoved:
        """Rewrites the whole of one of one's own requests while it takes offers; limits as in `create`."""
        body = _ask(title, category, description, urgency, exchange_offer)
        return await self._calls.write("PUT", f"{_PATH}/{part(help_request_id)}", HelpRequestMoved, body=body, key=key)

    async def cancel(
        self, help_request_id: UUID, reason: str | None = None, *, key: str | None = None
    ) -> HelpRequestMoved:
        """Takes a request back, with a reason of up to 500 characters."""
        path = f"{_PATH}/{part(help_request_id)}/cancel"
        return await self._calls.write("POST", path, HelpRequestMoved, body={"reason": reason}, key=key)

    async def complete(self, help_request_id: UUID, *, key: str | None = None) -> HelpRequestMoved:
        """Marks a request as done."""
        return await self._calls.write("POST", f"{_PATH}/{part(help_request_id)}/complete", HelpRequestMoved, key=key)

    async def reopen(self, help_request_id: UUID, *, key: str | None = None) -> HelpRequestMoved:
        """Opens a completed or cancelled request again."""
        return await self._calls.write("POST", f"{_PATH}/{part(help_request_id)}/reopen", HelpRequestMoved, key=key)


def _ask(
    title: str, category: str, description: str | None, urgency: str, exchange_offer: str | None
) -> dict[str, str | None]:
    return {
        "title": title,
        "category": category,
        "description": description,
        "urgency": urgency,
        "exchange_offer": exchange_offer,
    }
