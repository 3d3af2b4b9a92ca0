"""One's own data to take along, and the end of an account. Both are judged in SQL, as every right."""

from collections.abc import AsyncGenerator
from typing import Final

import msgspec
import structlog

from care_collective.db.call import Answer, Caller, Database

log = structlog.get_logger("care_collective.accounts")

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_PAGED: Final = frozenset({"success", "messages", "next_cursor"})
_decode_cursor = msgspec.json.Decoder(str | None).decode


async def export(database: Database, caller: Caller) -> AsyncGenerator[bytes, None]:
    """Everything of a person's own as one JSON object, in pieces: a page of messages is all that is held at once.

    Errors: CareError; of the first piece before anything is answered.
    """
    page = await _page(database, caller, None)
    parts = b",".join(b'"%b":%b' % (name.encode(), bytes(part)) for name, part in page.items() if name not in _PAGED)
    yield b'{%b,"messages":[%b' % (parts, _inner(page))
    while (cursor := _decode_cursor(page["next_cursor"])) is not None:
        page = await _page(database, caller, cursor)
        more = _inner(page)
        if more:  # what was there when the page before was cut may have gone
            yield b"," + more
    yield b"]}"


async def _page(database: Database, caller: Caller, cursor: str | None) -> dict[str, msgspec.Raw]:
    return _decode((await database.call("public.export_my_data", caller, p_cursor=cursor)).success())


def _inner(page: dict[str, msgspec.Raw]) -> bytes:
    """The messages of a page without the brackets around them."""
    return bytes(page["messages"])[1:-1]


async def delete(database: Database, caller: Caller, confirm: str) -> Answer:
    """Deletes the caller's account in their community and erases their data; `confirm` is the word delete.

    Errors, in the answer: `validation_error` for another word, `conflict` for the last coordinator or operator.
    """
    answer = await database.call("public.delete_account", caller, p_confirm=confirm)
    if answer.refusal() is None:
        # By id alone: where a database is lost and an older backup restored, the log knows whom to erase again.
        log.info("accounts.deleted", user_id=str(caller.user_id), community_id=str(caller.community_id))
    return answer
