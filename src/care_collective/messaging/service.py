"""The facade over both engines: checks the input, asks the flag, calls the engine, counts the outcome.

The only place that asks the flag and the only place that counts. Everything else reads and writes a conversation
where its own engine keeps it, whatever the flag says.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, cast
from uuid import UUID, uuid4

import msgspec
import structlog

from care_collective import text
from care_collective.db.call import Answer, Caller, Database
from care_collective.errors import CareError, Code, words
from care_collective.messaging import atomic, legacy
from care_collective.messaging.models import Result, Version
from care_collective.rollout import policy
from care_collective.rollout.outcomes import DECIDED, ENGINE_OFF, FAILURES, Attempt, Outcomes, Verb

log = structlog.get_logger("care_collective.messaging")

Engine = Callable[[Database, Caller, UUID, str], Awaitable[Answer]]
_ENGINES: dict[Version, Engine] = {"v1": legacy.start, "v2": atomic.start}
# Those of the functions offered to clients that write or read a conversation.
_VERBS: Final[Mapping[str, Verb]] = {
    "send_message_v2": "send",
    "get_conversation_v2": "read",
    "get_messages": "read",
    "list_conversations": "read",
    "list_offers": "read",
}

# As mute_conversation says it.
_FAR: Final = "Name a moment before the year 10000."

# What create_conversation_atomic answers where V2 is switched off, and a node in its place.
_ENGINE_OFF: Final = Answer(
    msgspec.json.encode(
        {"success": False, "error": Code.UNAVAILABLE, "reason": ENGINE_OFF, "message": words(Code.UNAVAILABLE)}
    ).decode(),
    {},
)


def _opened(answer: Answer, version: Version) -> Result:
    """What an engine's answer to an opening says; after an orphan's completion a header names the other engine."""
    refusal = answer.refusal()
    if refusal is not None:
        return Result.refused(refusal)
    data = answer.data()
    return Result(
        success=True,
        conversation_id=UUID(data["conversation_id"]),
        message=data["message"],
        version=cast(Version, answer.headers.get("Conversation-Version", version)),
        replayed="Idempotency-Replayed" in answer.headers,
    )


class Messaging:
    """Every verb of a conversation, for a caller whose identity has been established.

    `decide` answers the stage in force on this node; `outcomes` counts, where they are to be kept; `clock` answers
    seconds and only measures.
    """

    def __init__(
        self,
        database: Database,
        decide: Callable[[], policy.Decision],
        *,
        outcomes: Outcomes | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._decide = decide
        self._outcomes = outcomes or Outcomes(database, uuid4())
        self._clock = clock

    async def uses_v2(self, caller: Caller) -> bool:
        """Whether a conversation of this caller would open in V2; for nobody, whether it is on for all."""
        decision = self._decide()
        stage, salt = decision.stage, decision.salt
        if caller.user_id is None:
            return policy.is_for_all(stage)
        in_cohort = caller.user_id in decision.cohort
        # Where nobody is named the cohort are people with a role, which the database knows.
        if not decision.cohort and policy.needs_cohort(stage, caller.user_id, salt=salt):
            in_cohort = bool(await self._database.value("care.is_in_cohort", caller))
        return policy.uses_v2(stage, caller.user_id, in_cohort=in_cohort, salt=salt)

    async def start_help_conversation(self, caller: Caller, help_request_id: UUID, initial_message: str) -> Result:
        """Offers help on a request with a first message of 10 to 1000 characters.

        The result names the conversation and its engine, or the refusal; a fault is a value here too.
        """
        began = self._clock()
        version: Version = "v1"
        fault: CareError | None = None
        try:
            problem = text.check(initial_message, *text.FIRST_MESSAGE)
            if problem is not None:
                raise CareError.invalid(initial_message=problem)
            version = "v2" if await self.uses_v2(caller) else "v1"
            result = await self._open(version, caller, help_request_id, initial_message)
            if result.reason == ENGINE_OFF:  # stopped since this node has looked: no reason for the offer to fail
                version = "v1"
                result = await self._open(version, caller, help_request_id, initial_message)
        except CareError as error:
            fault, result = error, Result.refused(error)
        except Exception:
            failed = Result.refused(CareError(Code.SERVER_ERROR))
            self._count(caller, "start-conversation", version, help_request_id, failed, began)
            raise
        self._count(caller, "start-conversation", version, help_request_id, result, began, fault)
        return result

    async def _open(self, version: Version, caller: Caller, help_request_id: UUID, initial_message: str) -> Result:
        return _opened(await _ENGINES[version](self._database, caller, help_request_id, initial_message), version)

    async def call(self, function: str, caller: Caller, arguments: Mapping[str, object]) -> Answer:
        """Calls a function that is offered to clients, by its name and with its own arguments, as their gateway does.

        The answer is the function's own, success or refusal. No stage is asked: calling create_conversation_atomic is
        asking for V2, which is refused where it is switched off. Opening a conversation is counted.
        Errors: CareError for what was raised.
        """
        if function != "create_conversation_atomic":
            return await self._called(function, caller, **arguments)
        began = self._clock()
        help_request_id = arguments["p_help_request_id"]
        try:
            off = self._decide().source in policy.SWITCHED_OFF
            answer = _ENGINE_OFF if off else await self._database.call(f"public.{function}", caller, **arguments)
            result = _opened(answer, "v2")
        except CareError as error:
            self._count(caller, function, "v2", help_request_id, Result.refused(error), began, error)
            raise
        self._count(caller, function, "v2", help_request_id, result, began)
        return answer

    def _count(
        self,
        caller: Caller,
        endpoint: str,
        version: Version,
        help_request_id: object,
        result: Result,
        began: float,
        fault: CareError | None = None,
    ) -> None:
        """Counts an attempt, with one structured line of ids and never a word of the message (rollout.md, counting)."""
        duration_ms = round((self._clock() - began) * 1000, 2)
        if caller.user_id is not None and isinstance(help_request_id, UUID):
            self._outcomes.opened(
                Attempt(
                    community_id=caller.community_id,
                    help_request_id=help_request_id,
                    user_id=caller.user_id,
                    version=result.version or version,
                    endpoint=endpoint,
                    duration_ms=duration_ms,
                    code=result.error,
                    reason=result.reason,
                    connection=None if fault is None else fault.connection,
                    sqlstate=None if fault is None else fault.sqlstate,
                    reference=caller.request_id,
                )
            )
        line = log.bind(
            version=result.version or version,
            endpoint=endpoint,
            duration_ms=duration_ms,
            help_request_id=str(help_request_id),
            user_id=str(caller.user_id),
            request_id=caller.request_id,
        )
        if result.success:
            line.info("messaging.conversation.created", success=True, conversation_id=str(result.conversation_id))
        elif result.error in FAILURES and result.reason not in DECIDED:
            line.error("messaging.error", success=False, error_code=str(result.error))
        else:
            line.info("messaging.refused", success=False, error_code=str(result.error), reason=result.reason)

    async def _called(self, function: str, caller: Caller, **arguments: object) -> Answer:
        """A call of an offered function, counted where it writes or reads a conversation."""
        verb = _VERBS.get(function)
        began = self._clock()
        fault: CareError | None = None
        try:
            answer = await self._database.call(f"public.{function}", caller, **arguments)
            fault = None if verb is None else answer.refusal()
        except Exception as error:
            fault = error if isinstance(error, CareError) else CareError(Code.SERVER_ERROR)
            raise
        finally:
            if verb is not None:
                self._outcomes.called(verb, fault, (self._clock() - began) * 1000)
        return answer

    async def send_message(self, caller: Caller, conversation_id: UUID, content: str) -> Result:
        """Writes a message of 1 to 1000 characters into one of the caller's conversations."""
        try:
            problem = text.check(content, *text.MESSAGE)
            if problem is not None:
                raise CareError.invalid(content=problem)
            answer = await self._called(
                "send_message_v2",
                caller,
                p_conversation_id=conversation_id,
                p_sender_id=caller.user_id,
                p_content=content,
            )
            data = answer.data()
        except CareError as error:
            return Result.refused(error)
        return Result(
            success=True,
            conversation_id=conversation_id,
            message_id=UUID(data["message_id"]),
            seq=data["seq"],
            message=data["message"],
            replayed="Idempotency-Replayed" in answer.headers,
        )

    async def get_conversation(self, caller: Caller, conversation_id: UUID) -> Result:
        """One of the caller's conversations with its newest 500 follow-ups, oldest first."""
        try:
            answer = await self._called(
                "get_conversation_v2", caller, p_conversation_id=conversation_id, p_user_id=caller.user_id
            )
            data = answer.data()
        except CareError as error:
            return Result.refused(error)
        return Result(
            success=True,
            conversation_id=conversation_id,
            conversation=data["conversation"],
            messages=data["messages"],
            has_more=data["has_more"],
        )

    async def get_messages(
        self, caller: Caller, conversation_id: UUID, *, before: int | None, after: int | None, limit: int
    ) -> Answer:
        """A page of one of the caller's conversations by seq, oldest first; `limit` 1 to 100."""
        return await self._called(
            "get_messages",
            caller,
            p_conversation_id=conversation_id,
            p_before=before,
            p_after=after,
            p_limit=limit,
        )

    async def live(
        self, caller: Caller, conversation_id: UUID | None, *, after: int | None, changed: list[UUID] | None
    ) -> Answer:
        """What a live stream shows: up to 100 messages of a conversation after a seq (None: none), what is unread, and
        the inbox rows of conversations that changed (None: the newest 20)."""
        return await self._database.call(
            "care.live", caller, p_conversation_id=conversation_id, p_after=after, p_changed=changed
        )

    async def list_conversations(
        self, caller: Caller, *, cursor: str | None, limit: int, filter_: str, search: str | None = None
    ) -> Answer:
        """The caller's conversations of both engines by last activity; `limit` 1 to 50, `filter_` all, unread or
        archived, `search` to 100 characters: a page of what was found may be short and yet not the last."""
        return await self._called(
            "list_conversations", caller, p_cursor=cursor, p_limit=limit, p_filter=filter_, p_search=search
        )

    async def list_offers(self, caller: Caller, help_request_id: UUID, *, cursor: str | None, limit: int) -> Answer:
        """The offers on one of the caller's own requests, of both engines; `limit` 1 to 50."""
        return await self._called(
            "list_offers", caller, p_help_request_id=help_request_id, p_cursor=cursor, p_limit=limit
        )

    async def list_offers_on(self, caller: Caller, help_request_ids: Sequence[UUID]) -> dict[UUID, Answer]:
        """The newest offers on each of some of the caller's own requests."""
        answers = [await self.list_offers(caller, one, cursor=None, limit=10) for one in help_request_ids]
        return dict(zip(help_request_ids, answers, strict=True))

    async def mark_read(self, caller: Caller, conversation_id: UUID, seq: int) -> Answer:
        """Marks a conversation as read up to `seq`; never backwards, never past its end."""
        return await self._database.call("public.mark_read", caller, p_conversation_id=conversation_id, p_seq=seq)

    async def decline_offer(self, caller: Caller, conversation_id: UUID, reason: str | None) -> Answer:
        """Declines an offer on the caller's request; `reason`, to 500 characters, is read by the helper."""
        return await self._database.call(
            "public.decline_offer", caller, p_conversation_id=conversation_id, p_reason=reason
        )

    async def accept_offer(self, caller: Caller, conversation_id: UUID) -> Answer:
        """Accepts an offer on the caller's request, in place of another helper where there was one."""
        return await self._database.call("public.accept_offer", caller, p_conversation_id=conversation_id)

    async def step_back(self, caller: Caller, conversation_id: UUID) -> Answer:
        """The accepted helper gives the request back."""
        return await self._database.call("public.step_back", caller, p_conversation_id=conversation_id)

    async def report_problem(
        self,
        caller: Caller,
        *,
        conversation_id: UUID | None,
        help_request_id: UUID | None,
        code: str | None,
        reference: str | None,
        words: str | None,
    ) -> Answer:
        """Takes a member's word that a conversation could not be opened or used; `words` to 500 characters."""
        return await self._database.call(
            "public.report_problem",
            caller,
            p_conversation_id=conversation_id,
            p_help_request_id=help_request_id,
            p_code=code,
            p_reference=reference,
            p_words=words,
        )

    async def release_helper(self, caller: Caller, conversation_id: UUID) -> Answer:
        """The owner releases the accepted helper."""
        return await self._database.call("public.release_helper", caller, p_conversation_id=conversation_id)

    async def close_conversation(self, caller: Caller, conversation_id: UUID) -> Answer:
        """Closes one of the caller's active conversations."""
        return await self._database.call("public.close_conversation", caller, p_conversation_id=conversation_id)

    async def reopen_conversation(self, caller: Caller, conversation_id: UUID) -> Answer:
        """Reopens a conversation that the caller declined or closed."""
        return await self._database.call("public.reopen_conversation", caller, p_conversation_id=conversation_id)

    async def mute_conversation(self, caller: Caller, conversation_id: UUID, until: datetime | None) -> Answer:
        """Mutes a conversation for the caller alone, until a moment that knows its zone; None ends it."""
        return await self._database.call("public.mute_conversation", caller, p_conversation_id=conversation_id,
                                         p_until=None if until is None else _moment(until))  # fmt: skip

    async def archive_conversation(self, caller: Caller, conversation_id: UUID, *, archived: bool) -> Answer:
        """Puts a conversation away for the caller alone, or back into their list."""
        return await self._database.call(
            "public.archive_conversation", caller, p_conversation_id=conversation_id, p_archived=archived
        )

    async def block_user(self, caller: Caller, user_id: UUID) -> Answer:
        """Blocks a member whom the caller has met; ends what the two have with each other."""
        return await self._database.call("public.block_user", caller, p_user_id=user_id)

    async def unblock_user(self, caller: Caller, user_id: UUID) -> Answer:
        """Ends the caller's block of a member, where there is one."""
        return await self._database.call("public.unblock_user", caller, p_user_id=user_id)

    async def list_blocks(self, caller: Caller) -> Answer:
        """Whom the caller has blocked, the latest first."""
        return await self._database.call("public.list_blocks", caller)


def _moment(at: datetime) -> datetime:
    """A moment in UTC. Errors: CareError for one that has none: its zone leads out of the calendar."""
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise CareError.invalid(until=_FAR) from None
