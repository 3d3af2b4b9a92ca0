"""Conversations: offer, list, read, write, mark, decide, close, reopen."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from datetime import datetime
from uuid import UUID

from care_collective.client.calls import Calls, part
from care_collective.client.live import read_event
from care_collective.client.models import (
    Archived,
    Blocks,
    Conversation,
    ConversationPage,
    Done,
    HelpRequestMoved,
    LiveState,
    Marked,
    Message,
    MessagePage,
    Muted,
    Sent,
    Started,
)

_PATH = "/api/messaging"
_BLOCKS = "/api/blocks"


class Messaging:
    """`client.messaging`. Every method raises CareClientError; of a write it has the `key`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def start_conversation(
        self, help_request_id: UUID, initial_message: str, *, key: str | None = None
    ) -> Started:
        """Offers help with a first message of 10 to 1000 characters.

        Errors: ConversationExists with the conversation there is, HelpRequestUnavailable, RateLimited past 10 an hour.
        """
        path = f"{_PATH}/help-requests/{part(help_request_id)}/start-conversation"
        return await self._calls.write("POST", path, Started, body={"initial_message": initial_message}, key=key)

    async def list_offers(
        self, help_request_id: UUID, *, cursor: str | None = None, limit: int = 20
    ) -> ConversationPage:
        """A page of the offers on one of one's own requests, by last activity; `limit` 1 to 50."""
        path = f"{_PATH}/help-requests/{part(help_request_id)}/conversations"
        return await self._calls.read(path, ConversationPage, cursor=cursor, limit=limit)

    async def each_offer(self, help_request_id: UUID, *, limit: int = 50) -> AsyncIterator[Conversation]:
        """Every offer that `list_offers` would page through, `limit` a call."""

        async def page(cursor: str | None) -> ConversationPage:
            return await self.list_offers(help_request_id, cursor=cursor, limit=limit)

        async for found in _each(page):
            yield found

    async def list_conversations(
        self,
        *,
        cursor: str | None = None,
        limit: int = 20,
        unread_only: bool = False,
        archived: bool = False,
        search: str | None = None,
    ) -> ConversationPage:
        """A page of one's own conversations, by last activity; `limit` 1 to 50. Without `archived` those that are not.

        `search`, to 100 characters, looks in names, titles and messages, in archived conversations too; what it finds
        may be less than a page, and there is more while there is a cursor. Errors: ValueError for both kinds at once.
        """
        if unread_only and archived:
            raise ValueError("choose unread_only or archived")
        chosen = "unread" if unread_only else "archived" if archived else "all"
        return await self._calls.read(
            f"{_PATH}/conversations", ConversationPage, cursor=cursor, limit=limit, filter=chosen, search=search
        )

    async def each_conversation(
        self, *, limit: int = 50, unread_only: bool = False, archived: bool = False, search: str | None = None
    ) -> AsyncIterator[Conversation]:
        """Every conversation that `list_conversations` would page through, `limit` a call."""

        async def page(cursor: str | None) -> ConversationPage:
            return await self.list_conversations(
                cursor=cursor, limit=limit, unread_only=unread_only, archived=archived, search=search
            )

        async for found in _each(page):
            yield found

    async def get_messages(
        self, conversation_id: UUID, *, before: int | None = None, after: int | None = None, limit: int = 50
    ) -> MessagePage:
        """A page of a thread, oldest first: the newest, those before a seq, or those after one; `limit` 1 to 100."""
        path = f"{_PATH}/conversations/{part(conversation_id)}/messages"
        return await self._calls.read(path, MessagePage, before=before, after=after, limit=limit)

    async def each_message(self, conversation_id: UUID, *, after: int = -1, limit: int = 100) -> AsyncIterator[Message]:
        """Every message after a seq, oldest first, `limit` a call. Without `after` the whole thread."""
        while True:
            page = await self.get_messages(conversation_id, after=after, limit=limit)
            for message in page.messages:
                yield message
                after = message.seq
            if not page.has_more or not page.messages:
                return

    async def live(
        self, conversation_id: UUID | None = None, *, after: int | None = None
    ) -> AsyncGenerator[Message | LiveState, None]:
        """What happens, as it happens, for ever: with a conversation its messages after a seq (None: from now on), in
        order, none missed and none twice; in every stream the state, what is unread and the inbox rows that changed.

        Comes back by itself when it is cut. Errors: CareClientError for what another try will not mend.
        """
        chosen = None if conversation_id is None else part(conversation_id)
        async with aclosing(self._calls.follow(f"{_PATH}/stream", after=after, conversation=chosen)) as events:
            async for event in events:
                if event.name == "":
                    yield read_event(event.data, Message)
                elif event.name == "state":
                    yield read_event(event.data, LiveState)

    async def live_messages(self, conversation_id: UUID, *, after: int | None = None) -> AsyncGenerator[Message, None]:
        """The messages of `live` alone."""
        async with aclosing(self.live(conversation_id, after=after)) as told:
            async for one in told:
                if isinstance(one, Message):
                    yield one

    async def send_message(self, conversation_id: UUID, content: str, *, key: str | None = None) -> Sent:
        """Writes a message of 1 to 1000 characters.

        Errors: PermissionDenied `not_active` where the conversation is closed, RateLimited past 50 a minute.
        """
        path = f"{_PATH}/conversations/{part(conversation_id)}/messages"
        return await self._calls.write("POST", path, Sent, body={"content": content}, key=key)

    async def mark_read(self, conversation_id: UUID, seq: int, *, key: str | None = None) -> Marked:
        """Marks a conversation as read up to a seq: never backwards, never past its end."""
        path = f"{_PATH}/conversations/{part(conversation_id)}/read"
        return await self._calls.write("POST", path, Marked, body={"seq": seq}, key=key)

    async def close(self, conversation_id: UUID, *, key: str | None = None) -> Done:
        """Closes an active conversation; both can still read it."""
        return await self._calls.write("POST", f"{_PATH}/conversations/{part(conversation_id)}/close", Done, key=key)

    async def reopen(self, conversation_id: UUID, *, key: str | None = None) -> Done:
        """Reopens a conversation that the caller declined or closed."""
        return await self._calls.write("POST", f"{_PATH}/conversations/{part(conversation_id)}/reopen", Done, key=key)

    async def mute(self, conversation_id: UUID, until: datetime | None, *, key: str | None = None) -> Muted:
        """Mutes a conversation for oneself until a moment that knows its zone; None ends it. Errors: ValueError."""
        if until is not None and until.tzinfo is None:
            raise ValueError("until knows its time zone")
        path, body = f"{_PATH}/conversations/{part(conversation_id)}/mute", {"until": until}
        return await self._calls.write("POST", path, Muted, body=body, key=key)

    async def archive(self, conversation_id: UUID, *, archived: bool = True, key: str | None = None) -> Archived:
        """Puts a conversation away for oneself, or back into the list. What the other does in it brings it back."""
        path, body = f"{_PATH}/conversations/{part(conversation_id)}/archive", {"archived": archived}
        return await self._calls.write("POST", path, Archived, body=body, key=key)

    async def block(self, user_id: UUID, *, key: str | None = None) -> Done:
        """Blocks a member one has met; they are not told. Errors: NotFound for who is not there or was never met."""
        return await self._calls.write("POST", f"{_BLOCKS}/{part(user_id)}", Done, key=key)

    async def unblock(self, user_id: UUID, *, key: str | None = None) -> Done:
        """Ends a block, where there is one. What it ended stays ended until one opens it again."""
        return await self._calls.write("DELETE", f"{_BLOCKS}/{part(user_id)}", Done, key=key)

    async def list_blocks(self) -> Blocks:
        """Whom one has blocked, the latest first."""
        return await self._calls.read(_BLOCKS, Blocks)

    async def reject_offer(self, conversation_id: UUID, reason: str | None = None, *, key: str | None = None) -> Done:
        """Declines an offer on one's own request, with a reason of up to 500 characters that the helper reads."""
        body = {"conversation_id": conversation_id, "reason": reason}
        return await self._calls.write("POST", f"{_PATH}/reject-offer", Done, body=body, key=key)

    async def accept_offer(self, conversation_id: UUID, *, key: str | None = None) -> HelpRequestMoved:
        """Accepts an offer on one's own request: assigns the helper, in place of another where there was one."""
        return await self._decide("accept-offer", conversation_id, key)

    async def step_back(self, conversation_id: UUID, *, key: str | None = None) -> HelpRequestMoved:
        """Gives the request back as its accepted helper; it is open again."""
        return await self._decide("step-back", conversation_id, key)

    async def release_helper(self, conversation_id: UUID, *, key: str | None = None) -> HelpRequestMoved:
        """Releases the accepted helper of one's own request; it is open again."""
        return await self._decide("release-helper", conversation_id, key)

    async def _decide(self, verb: str, conversation_id: UUID, key: str | None) -> HelpRequestMoved:
        body = {"conversation_id": conversation_id}
        return await self._calls.write("POST", f"{_PATH}/{verb}", HelpRequestMoved, body=body, key=key)


async def _each(page: Callable[[str | None], Awaitable[ConversationPage]]) -> AsyncIterator[Conversation]:
    cursor: str | None = None
    while True:
        read = await page(cursor)
        for found in read.conversations:
            yield found
        cursor = read.next_cursor
        if cursor is None:
            return
