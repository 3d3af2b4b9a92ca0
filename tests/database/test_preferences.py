"""What a member chooses of their own, and new offers that are paused: in both engines, and against offers under way."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from database.steps import V1, V2, Engine, code, legacy_steps
from engines.stage import waiting
from harness import FIRST_WORDS, Care, Person, Town

CHOSEN: dict[str, Any] = {
    "email": "daily", "quiet_from": "22:00", "quiet_to": "07:30", "offers_paused": False, "locale": "es",
    "time_zone": "America/Port-au-Prince",
}  # fmt: skip
PAUSED = {**CHOSEN, "offers_paused": True}


async def test_preferences_begin_with_the_columns_defaults_and_are_kept_as_they_were_set(town: Town) -> None:
    ann = await town.member()
    defaults = (await ann.call("get_preferences"))["preferences"]
    untouched = await town.care.owner.fetchrow("select (care.preferences_of($1, $2)).*", town.community_id, ann.user_id)
    assert await town.count("public.messaging_preferences") == 0
    await town.care.owner.execute(
        "insert into public.messaging_preferences (community_id, user_id) values ($1, $2)",
        town.community_id, ann.user_id,
    )  # fmt: skip
    assert (await ann.call("get_preferences"))["preferences"] == defaults
    row = await town.care.owner.fetchrow("select * from public.messaging_preferences where user_id = $1", ann.user_id)
    assert {**untouched, "updated_at": None} == {**row, "updated_at": None}

    answer = await ann.call("set_preferences", **CHOSEN)
    assert answer == {"success": True, "preferences": CHOSEN} == await ann.call("get_preferences")
    again = {**CHOSEN, "quiet_from": "00:00", "quiet_to": "00:00", "locale": None, "time_zone": None}
    assert (await ann.call("set_preferences", **again))["preferences"] == again
    me = await ann.call("care.me")
    assert (me["locale"], me["time_zone"]) == (None, None)
    assert await town.count("public.messaging_preferences") == 1


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("email", ["", "Each", "weekly", None]),
        ("quiet_from", ["24:00", "12:60", "9:00", "09:00:00", "ab:cd", "-1:00", "", "\u0660\u0669:\u0660\u0660", None]),
        ("quiet_to", ["24:00", None]),
        ("offers_paused", [None]),
        ("locale", ["", "EN", "fr", "es-MX"]),
        ("time_zone", [
            "", "utc", "EST", "EST5EDT", "Europe/Nowhere", "europe/lisbon", "Europe/Lisbon ", "<X>+3", "America/Foo3",
            "Etc/GMT+5", "posix/Europe/Lisbon", "Europe/../../../etc/passwd", "Europe/", "localtime",
        ]),
    ],
)  # fmt: skip
async def test_what_is_no_choice_is_refused_by_its_field(town: Town, field: str, values: list[Any]) -> None:
    ann = await town.member()
    for value in values:
        answer = await ann.call("set_preferences", **{**CHOSEN, field: value})
        assert (code(answer), list(answer.get("fields", {}))) == ("validation_error", [field]), value
    assert await town.count("public.messaging_preferences") == 0


async def test_trying_a_time_zone_leaves_the_sessions_own(shared: Care) -> None:
    connection = await shared.connect()
    async with connection.transaction():
        for zone in ("Asia/Tokyo", "Asia/Nowhere"):
            await connection.fetchval("select care.is_time_zone($1)", zone)
            assert await connection.fetchval("select current_setting('TimeZone')") == "UTC"
    await connection.close()


async def test_a_member_corrects_name_and_town_and_nobody_elses(town: Town) -> None:
    ann, bob = await town.member("Ann"), await town.member("Bob", status="pending")
    assert await bob.call("set_profile", display_name="  Bob Ó Sé ", town=" \u2800 ") == {
        "success": True, "profile": {"display_name": "Bob Ó Sé", "town": None},
    }  # fmt: skip
    assert (await ann.call("get_profile"))["profile"] == {"display_name": "Ann", "town": None}
    for name, town_, field in ((" ", None, "display_name"), ("Bob", "t" * 81, "town")):
        answer = await bob.call("set_profile", display_name=name, town=town_)
        assert (code(answer), list(answer["fields"])) == ("validation_error", [field])


async def pause(owner: Person) -> None:
    """Pauses new offers to a member."""
    assert (await owner.call("set_preferences", **PAUSED))["success"]


@pytest.mark.parametrize("engine", [V1, V2], ids=["v1", "v2"])
async def test_a_pause_refuses_new_offers_and_leaves_what_there_is(town: Town, engine: Engine) -> None:
    owner, helper, other = await town.member("Olga"), await town.member("Hal"), await town.member("Una")
    request = await town.request(owner)
    opened = await engine.opened(helper, request)
    # Half opened before the pause, in V1: it is not completed under it, in neither engine.
    await legacy_steps(other, request, steps=2)
    await pause(owner)
    for newcomer in (other, await town.member("New")):
        assert code(await engine.offer(newcomer, request)) == "help_request_unavailable"
    answer = await engine.offer(helper, request)
    assert (code(answer), answer["conversation_id"]) == ("conversation_exists", str(opened))
    assert (await helper.send(opened, "Shall I come at ten?"))["success"]
    assert code(await owner.call("accept_offer", conversation_id=opened)) == "success"
    assert code(await engine.offer(owner, request)) == "validation_error/own_request"
    # The owner asks others on as before.
    assert code(await engine.offer(owner, await town.request(helper))) == "success"
    assert (await owner.call("set_preferences", **CHOSEN))["success"]
    assert code(await engine.offer(other, request)) == "success"


async def test_v1s_last_step_is_refused_under_a_pause(town: Town) -> None:
    owner, helper = await town.member("Olga"), await town.member("Hal")
    first = await legacy_steps(helper, await town.request(owner), steps=2)
    await pause(owner)
    last: dict[str, Any] = {
        "conversation_id": UUID(first["conversation_id"]),
        "recipient_id": owner.user_id,
        "content": FIRST_WORDS,
    }
    assert code(await helper.call("legacy_write_first_message", **last)) == "help_request_unavailable"


async def test_others_and_the_owner_see_that_a_request_takes_no_offers(town: Town) -> None:
    owner, helper = await town.member("Olga"), await town.member("Hal")
    request = await town.request(owner)

    async def seen(person: Person) -> list[bool]:
        (listed,) = (await person.call("list_help_requests"))["help_requests"]
        one = (await person.call("get_help_request", help_request_id=request))["help_request"]
        assert listed["status"] == one["status"] == "open"
        return [listed["takes_offers"], one["takes_offers"]]

    assert await seen(helper) == await seen(owner) == [True, True]
    await pause(owner)
    assert await seen(helper) == await seen(owner) == [False, False]


async def test_an_offer_on_its_way_is_there_before_the_pause_is_answered(town: Town) -> None:
    """The offer has looked at the pause and not committed: the pause waits for it. Nothing opens after the answer."""
    owner, helper, late = await town.member("Olga"), await town.member("Hal"), await town.member("Lou")
    request = await town.request(owner)
    connection = await town.care.connect("care_app")
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("select set_config('request.jwt.claims', $1, true)", helper.caller().claims())
    await connection.fetchval(
        "select public.create_conversation_atomic($1, $2, $3)", request, helper.user_id, FIRST_WORDS
    )
    pausing = asyncio.create_task(owner.call("set_preferences", **PAUSED))
    await waiting(town.care)
    await transaction.commit()
    await connection.close()
    assert (await pausing)["success"]
    assert await town.count("public.conversations_v2") == 1
    assert code(await late.offer_v2(request)) == "help_request_unavailable"
