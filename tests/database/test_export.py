"""A member's own export: everything of theirs and what they can read, and nothing that others keep from them."""

import json
from typing import Any
from uuid import UUID

import pytest

from database.steps import V1, Engine, Stage, code
from database.test_leaving import MARK, full_life
from harness import FIRST_WORDS, Care, Person

pytestmark = pytest.mark.alike


async def exported(person: Person) -> dict[str, Any]:
    """A whole export, its messages put together."""
    whole = await person.call("export_my_data")
    cursor = whole.pop("next_cursor")
    while cursor is not None:
        page = await person.call("export_my_data", cursor=cursor)
        assert set(page) == {"success", "messages", "next_cursor"}
        whole["messages"] += page["messages"]
        cursor = page["next_cursor"]
    return whole


async def test_an_export_has_everything_of_ones_own_and_what_one_can_read(scratch: Care) -> None:
    town = await scratch.town()
    me, _, own = await full_life(town)
    await town.restrict(me, "banned", why="Threats")
    whole = await exported(me)
    text = json.dumps(whole)
    assert whole["account"]["email"].startswith(MARK.lower())
    assert {r["why"] for r in whole["restrictions"]} == {"Sent adverts", "Threats"}
    for words in ("describes", "gives", "tells", "s town", "alone", "answered"):
        assert words in text, words
    for name, part in whole.items():
        assert part or name == "limits", name
    assert {UUID(item["id"]) for item in whole["conversations"]} == {
        conversation for name, conversation in own.items() if name.startswith(("answered v", "helping", "declined"))
    }
    both = [m["content"] for m in whole["messages"] if m["conversation_id"] == str(own["helping v2"])]
    assert both == [FIRST_WORDS, "Words in v2"]
    # Of others what they can read in their threads, and no more.
    emails = await town.care.owner.fetch("select email from care.users where id <> $1", me.user_id)
    assert not any(row["email"] in text for row in emails)
    assert "a hash of" not in text
    blocker = await town.care.owner.fetchval(
        "select blocker_id from public.user_blocks where blocked_id = $1", me.user_id
    )
    assert str(blocker) not in text


async def test_a_first_message_that_waits_for_review_is_in_its_writers_export_alone(
    stage: Stage, engine: Engine
) -> None:
    held = await engine.opened(stage.helper, stage.open_request)
    await stage.town.care.owner.execute(f"update {engine.conversations} set status = 'held' where id = $1", held)
    await stage.town.care.owner.execute("delete from public.notifications where conversation_id = $1", held)
    mine, theirs = await exported(stage.helper), await exported(stage.owner)
    assert str(held) in json.dumps(mine)
    assert str(held) not in json.dumps(theirs)
    # It is closed for its writer when the requester leaves, and stays unseen when the writer does.
    assert (await stage.helper.call("delete_account", confirm="delete"))["success"]
    assert str(held) not in json.dumps(await exported(stage.owner))


async def test_many_messages_come_in_pages_each_once(stage: Stage) -> None:
    opened = [stage.conversation, await V1.opened(stage.helper, stage.open_request)]
    for conversation in opened:
        await stage.town.fill(conversation, stage.owner, stage.helper, 2100)
    whole = await exported(stage.helper)
    seen = [(m["conversation_id"], m["seq"]) for m in whole["messages"]]
    assert seen == [(str(c), n) for c in sorted(opened) for n in range(2101)]
    assert code(await stage.helper.call("export_my_data", cursor="1.2")) == "validation_error"
    # A cursor of somebody else's thread begins after it and shows nothing of it.
    stranger = await stage.town.member()
    page = await stranger.call("export_my_data", cursor=f"{stage.conversation}.0")
    assert (page["messages"], page["next_cursor"]) == ([], None)
