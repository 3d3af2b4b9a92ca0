"""contract.md, text: every field a member writes, at its limits, by the functions and by the tables' own checks."""

import json
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from care_collective import text
from care_collective.errors import CareError, Code
from database.steps import Stage, code, contents, legacy_steps

BLANK_POINTS = sorted(set(text.BLANK) - {"\0"})


@dataclass(frozen=True, slots=True)
class Field:
    """A text parameter with its limits; `minimum` 0 is an optional one."""

    function: str
    parameter: str
    name: str
    minimum: int
    maximum: int
    by_owner: bool = False


FIELDS = [
    Field("create_conversation_atomic", "p_initial_message", "initial_message", 10, 1000),
    Field("legacy_open_conversation", "p_initial_message", "initial_message", 10, 1000),
    Field("legacy_write_first_message", "p_content", "initial_message", 10, 1000),
    Field("send_message_v2", "p_content", "content", 1, 1000),
    Field("create_help_request", "p_title", "title", 5, 100),
    Field("create_help_request", "p_description", "description", 0, 1000),
    Field("create_help_request", "p_exchange_offer", "exchange_offer", 0, 300),
    Field("update_help_request", "p_title", "title", 5, 100, by_owner=True),
    Field("update_help_request", "p_description", "description", 0, 1000, by_owner=True),
    Field("update_help_request", "p_exchange_offer", "exchange_offer", 0, 300, by_owner=True),
    Field("decline_offer", "p_reason", "reason", 0, 500, by_owner=True),
    Field("cancel_help_request", "p_reason", "reason", 0, 500, by_owner=True),
]
LATER = ("permission_denied", "conversation_exists")
FIELD = pytest.mark.parametrize("field", FIELDS, ids=lambda f: f"{f.function}-{f.name}")


async def say(stage: Stage, field: Field, value: str | None) -> dict[str, Any]:
    """Calls the field's function with the value and undoes what it did."""
    person = stage.owner if field.by_owner else stage.helper
    names = await stage.town.care.owner.fetchval(
        "select proargnames[:pronargs] from pg_proc where proname = $1", field.function
    )
    values = {**stage.values(person.user_id), field.parameter: value}
    places = ", ".join(f"{name} => ${place}" for place, name in enumerate(names, start=1))
    async with stage.town.care.database.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("select set_config('request.jwt.claims', $1, true)", person.caller().claims())
        answer = await connection.fetchval(f"select public.{field.function}({places})", *(values[n] for n in names))
        await transaction.rollback()
    return json.loads(answer)  # type: ignore[no-any-return]


@FIELD
async def test_lengths_are_code_points_after_trimming(stage: Stage, field: Field) -> None:
    for piece in ("a", "é", "\U0001f600", "\u6f22"):
        for size in {field.minimum - 1, field.minimum, field.maximum, field.maximum + 1} - {-1, 0}:
            expected = None if field.minimum <= size <= field.maximum else "validation_error"
            for value in (piece * size, f" \u3000\t{piece * size}\u2003\r\n"):
                answer = await say(stage, field, value)
                # Past the text's own check the stage's conversation may stand in the way.
                assert answer.get("error") in ((None, *LATER) if expected is None else (expected,)), size
                if expected is not None:
                    assert set(answer["fields"]) == {field.name}
                    assert (
                        answer["message"]
                        == answer["fields"][field.name]
                        == text.check(value, field.minimum, field.maximum)
                    )
    # A combining mark is a code point of its own.
    assert (await say(stage, field, "e\u0301" * (field.maximum // 2 + 1)))["error"] == "validation_error"


@FIELD
async def test_what_shows_nothing_is_nothing(stage: Stage, field: Field) -> None:
    for value in (None, "", " ", "\n" * 20, "\u200b" * 20, "\u2800\u3164 \u00ad" * 10, "".join(BLANK_POINTS)):
        answer = await say(stage, field, value)
        if field.minimum == 0:
            assert answer.get("error") != "validation_error", repr(value)
        else:
            assert (code(answer), answer["message"]) == ("validation_error", "Please write something here."), repr(
                value
            )


async def test_every_blank_code_point_is_blank_to_a_sender(stage: Stage) -> None:
    async with stage.town.care.database.pool.acquire() as connection, connection.transaction():
        await connection.execute("select set_config('request.jwt.claims', $1, true)", stage.helper.caller().claims())
        answers = await connection.fetch(
            "select public.send_message_v2($1, $2, c || c || c) ->> 'error' as error from unnest($3::text[]) as c",
            stage.conversation, stage.helper.user_id, BLANK_POINTS,
        )  # fmt: skip
    assert [row["error"] for row in answers] == ["validation_error"] * len(BLANK_POINTS)
    assert await stage.town.count("public.messages_v2") == 0


@FIELD
async def test_nul_and_lone_surrogates_are_invalid_and_write_nothing(stage: Stage, field: Field) -> None:
    person = stage.owner if field.by_owner else stage.helper
    before = await contents(stage.town.care)
    for value in ("Hello\0 hello hello", "Hello \ud800 hello hello"):
        names = await stage.town.care.owner.fetchval(
            "select proargnames[:pronargs] from pg_proc where proname = $1", field.function
        )
        values = {**stage.values(person.user_id), field.parameter: value}
        with pytest.raises(CareError) as refused:
            await stage.town.care.database.call(
                f"public.{field.function}", person.caller(), **{name: values[name] for name in names}
            )
        assert refused.value.code == Code.VALIDATION_ERROR
    assert await contents(stage.town.care) == before


async def test_texts_are_stored_trimmed_and_otherwise_as_written(stage: Stage) -> None:
    words = "\u202e«Ça va?»\n\n  e\u0301\U0001f468\u200d\U0001f469\u200d\U0001f467 \u0627\u0644\u0633\u0644\u0627\u0645"
    for value in (words, f"\n\u2003 {words}\u3000\t"):
        sent = await stage.helper.send(stage.conversation, value)
        page = await stage.owner.call("get_messages", conversation_id=stage.conversation, after=sent["seq"] - 1)
        assert page["messages"][0]["content"] == words
    asked = await stage.owner.call(
        "create_help_request",
        title=" \u3000Milk and bread ",
        category="other",
        description="\u200b",
        exchange_offer=" ",
    )
    row = await stage.town.care.owner.fetchrow(
        "select * from public.help_requests where id = $1", asked["help_request_id"]
    )
    assert (row["title"], row["description"], row["exchange_offer"]) == ("Milk and bread", None, None)


async def test_categories_and_urgencies_are_those_of_the_contract(stage: Stage) -> None:
    async def ask(**changed: str | None) -> dict[str, Any]:
        values = {"title": "A lift, please", "category": "other", "urgency": "normal", **changed}
        return await (await stage.town.member()).call("create_help_request", **values)

    for category in ("health-caregiving", "groceries-meals", "transportation-errands", "household-yard",
                     "technology-administrative", "social-companionship", "other"):  # fmt: skip
        for urgency in ("normal", "urgent", "critical"):
            assert (await ask(category=category, urgency=urgency))["success"]
    for wrong in (None, "", "Other", "others", " other"):
        assert set((await ask(category=wrong))["fields"]) == {"category"}
        assert set((await ask(urgency=wrong))["fields"]) == {"urgency"}


CONSTRAINED = [
    ("public.messages_v2", "content", 1, 1000),
    ("public.messages", "content", 1, 1000),
    ("public.conversations_v2", "initial_message", 10, 1000),
    ("public.conversations_v2", "decline_reason", 1, 500),
    ("public.conversations", "decline_reason", 1, 500),
    ("public.help_requests", "title", 5, 100),
    ("public.help_requests", "description", 1, 1000),
    ("public.help_requests", "exchange_offer", 1, 300),
    ("public.help_requests", "status_reason", 1, 500),
    ("public.profiles", "display_name", 1, 80),
    ("public.profiles", "town", 1, 80),
    ("public.profiles", "application_words", 1, 500),
    ("public.profiles", "decision_reason", 1, 500),
    ("public.communities", "name", 1, 80),
]


async def rows_of_every_table(stage: Stage) -> None:
    """One row at least in each table that the next test spoils."""
    await stage.helper.send(stage.conversation, "Hello")
    await legacy_steps(await stage.town.member(), stage.request)


@pytest.mark.parametrize(("table", "column", "minimum", "maximum"), CONSTRAINED)
async def test_the_tables_refuse_what_the_functions_would_never_write(
    stage: Stage, table: str, column: str, minimum: int, maximum: int
) -> None:
    await rows_of_every_table(stage)
    here = "id" if table == "public.communities" else "community_id"
    statement = f"update {table} set {column} = $1 where {here} = $2"
    for value in (
        "a" * (minimum - 1),
        "a" * (maximum + 1),
        " " * 20,
        "\u200b" * 20,
        "\n" * 12,
        f" {'a' * 20}",
        f"{'a' * 20}\u3000",
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await stage.town.care.owner.execute(statement, value, stage.town.community_id)
    for value in ("é" * minimum, "\U0001f600" * maximum):
        assert await stage.town.care.owner.execute(statement, value, stage.town.community_id) != "UPDATE 0"


@pytest.mark.parametrize(
    "change",
    [
        "update public.conversations_v2 set helper_id = requester_id where community_id = $1",
        "update public.conversations_v2 set status = 'gone' where community_id = $1",
        "update public.conversations_v2 set last_seq = -1 where community_id = $1",
        "update public.conversations set status = 'gone' where community_id = $1",
        "update public.conversations set last_seq = -2 where community_id = $1",
        "update public.messages_v2 set seq = 0 where community_id = $1",
        "update public.messages_v2 set recipient_id = sender_id where community_id = $1",
        "update public.messages set seq = -1 where community_id = $1",
        "update public.messages set recipient_id = sender_id where community_id = $1",
        "update public.conversation_members set unread = -1 where community_id = $1",
        "update public.conversation_members set version = 'v3' where community_id = $1",
        "update public.conversation_members set last_read_seq = -2 where community_id = $1",
        "update public.help_requests set status = 'gone' where community_id = $1",
        "update public.help_requests set status = 'in_progress' where community_id = $1",
        "update public.help_requests set helper_id = user_id where community_id = $1",
        "update public.help_requests set category = 'pets' where community_id = $1",
        "update public.help_requests set urgency = 'low' where community_id = $1",
        "update public.profiles set verification_status = 'admin' where community_id = $1",
        "update public.communities set settings = '[]' where id = $1",
        "update public.communities set slug = 'No Slug' where id = $1",
        "update care.outbox set topic = 'anything' where community_id = $1",
        "update care.rate_counters set kind = 'anything' where community_id = $1",
    ],
)
async def test_the_tables_refuse_states_that_cannot_be(stage: Stage, change: str) -> None:
    await rows_of_every_table(stage)
    with pytest.raises(asyncpg.CheckViolationError):
        await stage.town.care.owner.execute(change, stage.town.community_id)


async def test_the_tables_keep_a_pair_to_one_conversation_and_a_seq_to_one_message(stage: Stage) -> None:
    await rows_of_every_table(stage)
    for table in ("public.conversations_v2", "public.conversations", "public.messages_v2", "public.messages"):
        columns = await stage.town.care.owner.fetchval(
            "select string_agg(quote_ident(attname), ', ') from pg_attribute "
            "where attrelid = $1::text::regclass and attnum > 0 and attname <> 'id' and not attisdropped",
            table,
        )
        with pytest.raises(asyncpg.UniqueViolationError):
            await stage.town.care.owner.execute(
                f"insert into {table} ({columns}) select {columns} from {table} where community_id = $1",
                stage.town.community_id,
            )


async def test_no_row_points_into_another_community(stage: Stage) -> None:
    abroad = await stage.town.care.town()
    foreigner = await abroad.member()
    for change in (
        "update public.help_requests set user_id = $2 where community_id = $1",
        "update public.help_requests set helper_id = $2 where community_id = $1",
        "update public.conversations_v2 set helper_id = $2 where community_id = $1",
        "update public.conversations_v2 set requester_id = $2 where community_id = $1",
    ):
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await stage.town.care.owner.execute(change, stage.town.community_id, foreigner.user_id)
