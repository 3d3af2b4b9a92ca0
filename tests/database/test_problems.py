"""rollout.md, counting: a member tells of a problem with opening or using a conversation, five times an hour."""

from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from database.steps import Engine, Stage, code, nowhere
from database.test_limits import use, used
from harness import Town


def texts(field: str, length: int) -> dict[str, Any]:
    """One field with so many characters."""
    return {field: "x" * length}


async def reports(town: Town) -> list[asyncpg.Record]:
    """What stands there, in the order of writing."""
    return list(
        await town.care.owner.fetch(
            "select user_id, conversation_id, help_request_id, version, code, reference, words "
            "from care.problem_reports where community_id = $1 order by created_at",
            town.community_id,
        )
    )


async def test_a_report_is_placed_with_its_conversation_and_engine(town: Town, engine: Engine) -> None:
    owner, helper = await town.member("Olga"), await town.member("Hal")
    request = await town.request(owner)
    conversation = await engine.opened(helper, request)
    said = await owner.call("report_problem", conversation_id=conversation, code=" server_error ", reference="r1",
                            words="\u00a0It hangs. ")  # fmt: skip
    assert said["success"]
    (row,) = await reports(town)
    assert tuple(row) == (owner.user_id, conversation, request, engine.version, "server_error", "r1", "It hangs.")


async def test_an_opening_that_failed_is_placed_by_what_was_counted_of_it(town: Town) -> None:
    owner, helper = await town.member("Olga"), await town.member("Hal")
    request = await town.request(owner)
    await town.care.owner.execute(
        "insert into care.engine_outcomes (help_request_id, user_id, version, endpoint, opened_at, kind, duration_ms, "
        "node_id, reference) values ($1, $2, 'v1', 'a-test', now(), 'failure', 1, $3, 'r7')",
        request, helper.user_id, uuid4(),
    )  # fmt: skip
    await helper.call("report_problem", help_request_id=request)
    await helper.call("report_problem", reference="r7")
    await helper.call("report_problem", reference="another's")
    assert [(row["version"], row["help_request_id"]) for row in await reports(town)] == [
        ("v1", request), ("v1", None), (None, None),
    ]  # fmt: skip


async def test_what_is_not_the_members_is_left_out_and_the_report_taken(stage: Stage) -> None:
    stranger = await stage.town.member("Sam")
    elsewhere = await stage.town.care.town()
    foreign = await elsewhere.request(await elsewhere.member())
    answers = [
        await stranger.call("report_problem", conversation_id=conversation, help_request_id=request)
        for conversation, request in ((stage.conversation, foreign), (nowhere(), nowhere()), (None, None))
    ]
    assert {code(answer) for answer in answers} == {"success"}
    assert {(row["conversation_id"], row["help_request_id"], row["version"]) for row in await reports(stage.town)} == {
        (None, None, None)
    }


@pytest.mark.parametrize(("field", "longest"), [("words", 500), ("code", 60), ("reference", 100)])
async def test_texts_have_limits(stage: Stage, field: str, longest: int) -> None:
    assert code(await stage.helper.call("report_problem", **texts(field, longest))) == "success"
    answer = await stage.helper.call("report_problem", **texts(field, longest + 1))
    assert (code(answer), set(answer["fields"])) == ("validation_error", {field})
    assert await used(stage.helper, "problems") == 1


async def test_five_an_hour_are_heard_whatever_was_written_elsewhere(stage: Stage) -> None:
    for kind in ("messages", "conversations"):
        await use(stage.helper, kind, 1000, ago="10 seconds")
    assert code(await stage.helper.send(stage.conversation, "Hello?")) == "rate_limited"
    for number in range(5):
        key = f"k{number}"
        assert code(await stage.helper.call("report_problem", key=key, words="Again")) == "success"
    again = await stage.helper.call("report_problem", key="k0", words="Again")
    answer = await stage.helper.call("report_problem", words="A sixth")
    assert (code(again), code(answer)) == ("success", "rate_limited")
    assert 3500 < answer["retry_after"] <= 3600
    assert len(await reports(stage.town)) == 5
    assert code(await stage.owner.call("report_problem")) == "success"
    await use(stage.helper, "problems", 5, ago="1 hour")
    assert code(await stage.helper.call("report_problem")) == "success"
