"""The operators' page of the rollout: what it says in each state, and the switch on second thoughts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from care_collective.web.services import Services
from harness import Care, Person, Town
from web.pages import Sheet, led, opened, refused, sent, visitor
from web.test_kpis import changed, told
from web.test_rollout import audited, operator_of
from web_harness import Client, browser, services_for

PAGE = "/operator/rollout"


@pytest.fixture
def engine() -> str:
    """The page is above the engines: one is enough."""
    return "v2"


@pytest.fixture
async def node(scratch: Care) -> AsyncIterator[Services]:
    """A node that the environment tells nothing, whose guard has looked."""
    services = services_for(scratch)
    await services.flags.refresh()
    await services.guard.look()
    yield services
    await services.close()


@asynccontextmanager
async def _operator(node: Services, town: Town, **headers: str) -> AsyncIterator[Client]:
    client = await visitor(node, await operator_of(town), **headers)
    async with client:
        yield client


async def flag(care: Care) -> tuple[str, str | None]:
    """The stage and how it is stopped, as the database has it."""
    row = await care.owner.fetchrow("select stage, stopped from care.rollout_flags")
    return row["stage"], row["stopped"]


async def an_hour_old(care: Care) -> None:
    """The stage began an hour ago."""
    await care.owner.execute("update care.rollout_flags set stage_since = now() - interval '1 hour'")


async def test_operators_alone_find_it_and_see_it(scratch: Care, node: Services) -> None:
    town = await scratch.town()
    member: Person = await town.member("Mia")
    async with browser(node, town) as nobody:
        answer = await nobody.get(PAGE)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/sign-in?next={PAGE}")
    async with await visitor(node, member) as client:
        assert "/operator/rollout" not in (await client.get("/")).text
        for path in (PAGE, f"{PAGE}/live", f"{PAGE}/move"):
            assert "This is not open to you" in (await opened(client, path, 403)).said
    async with _operator(node, town) as client:
        assert 'href="/operator/rollout"' in (await client.get("/")).text
        form = (await opened(client, f"{PAGE}/move")).form("/move")
        token, key = form.fields["csrf_token"], form.fields["key"].rpartition(".")[2]
        assert (await client.get(PAGE)).headers["cache-control"] == "no-store"
    # A member's own token opens nothing either, and the attempt is kept.
    async with await visitor(node, member) as client:
        own = (await opened(client, "/account")).form("/sign-out").fields["csrf_token"]
        body = {"key": key, "stage": "on", "reason": "Why not", "sure": "yes"}
        assert (await client.post(f"{PAGE}/move", data=body | {"csrf_token": own})).status_code == 403
        answer = await client.post(f"{PAGE}/move", data=body | {"csrf_token": token})
        assert answer.status_code == 403
    assert await flag(scratch) == ("off", None)
    assert ("a member", "rollout.set", False) in await audited(scratch)


async def test_it_says_in_one_sentence_how_it_stands_and_what_to_do(scratch: Care, node: Services) -> None:
    town = await scratch.town()
    async with _operator(node, town) as client:

        async def said(*words: str) -> Sheet:
            sheet = await opened(client, PAGE)
            assert [one for one in words if one not in sheet.said] == []
            return sheet

        sheet = await said("V2 is off. New conversations open in V1. All is well.", "no data")
        assert not sheet.offers("/stop")
        await changed(scratch, node, "set", stage="percentage:10")
        sheet = await said("New conversations open in V2 for 10 of 100 members. All is well.", "Not yet.")
        assert [sheet.offers(verb) for verb in ("/stop", "/go-on")] == [True, False]
        assert "100.0 %" not in sheet.said  # a rate without attempts is no data
        await an_hour_old(scratch)
        await told(scratch, "v2", "success", 30)
        await said("30 of 30 offers in V2 succeeded (100.0%)")
        await scratch.owner.execute(
            "update care.rollout_checks set looked_until = now() - interval '5 minutes', due_at = now()"
        )
        sheet = await said("The guard has not looked for a minute", "Look at this")
        assert "All is well." not in sheet.said

        # What the guard found stands there with its numbers, which nobody reads as markup.
        await scratch.owner.execute(
            "select care.stop_rollout('messaging_v2', 'trip', 'guard', null, 'detector', "
            "'4 of the last 4 offers <b>failed</b>', '{\"attempts\": 4, \"failures\": 4}')"
        )
        await node.flags.refresh()
        sheet = await said(
            "V2 is stopped. New conversations open in V1, and every conversation goes on.",
            "The guard stopped it by itself", "4 of the last 4 offers <b>failed</b>", "attempts 4, failures 4",
        )  # fmt: skip
        assert "b" not in [tag for tag, _ in sheet.tags]
        assert [sheet.offers(verb) for verb in ("/stop", "/go-on")] == [False, True]
        assert "V1 is retired" not in sheet.said
        await scratch.owner.execute("update care.rollout_flags set retired_at = now()")
        await said("V1 is retired. Where a conversation would open in V1, new offers are paused")
        await changed(scratch, node, "resume", stage="on")
        await node.guard.look()
        await said("New conversations open in V2 for everybody. All is well.")
        await scratch.owner.execute("update care.rollout_flags set stage = 'true\n', generation = generation + 1")
        await node.flags.refresh()
        sheet = await said("The stage cannot be read, so V2 is off.", "Set the stage anew", "cannot read the stage")
        assert not sheet.offers("/stop")


async def test_where_the_environment_declares_the_stage_it_says_so_and_offers_no_move(scratch: Care) -> None:
    town = await scratch.town()
    declaring = services_for(scratch, messaging_v2_rollout="on")
    await declaring.flags.refresh()
    async with _operator(declaring, town) as client:
        sheet = await opened(client, PAGE)
        for words in ("New conversations open in V2 for everybody.", "declare the stage", "MESSAGING_V2_ENABLED"):
            assert words in sheet.said
        assert sheet.offers("/stop")
        assert "/operator/rollout/move" not in (await client.get(PAGE)).text
        form = (await opened(client, f"{PAGE}/move")).form("/move")
        sure = Sheet((await sent(client, form, stage="off", reason="Back")).text).form("/move")
        assert "not possible as it stands now" in (await refused(client, sure, 409)).said
    await declaring.close()


async def test_the_switch_asks_once_more_says_what_happens_and_happens_once(scratch: Care, node: Services) -> None:
    town = await scratch.town()
    async with _operator(node, town) as client:

        async def asked(form_of: str, path: str = PAGE, **typed: Any) -> Sheet:  # noqa: ANN401
            form = (await opened(client, path)).form(form_of)
            answer = await sent(client, form, **typed)
            sheet = Sheet(answer.text)
            assert answer.status_code == 200, sheet.said
            # One form is one change, however often somebody is asked whether they are sure.
            assert sheet.form(form_of).fields["key"] == form.fields["key"]
            return sheet

        sheet = await asked("/move", f"{PAGE}/move", stage="internal", reason="Everything is ready <i>now</i>")
        assert "New conversations open in V2 for: The first group only (internal)." in sheet.said
        assert await flag(scratch) == ("off", None)
        assert await led(client, sheet.form("/move")) == f"{PAGE}?done=moved"
        assert await flag(scratch) == ("internal", None)
        assert "The stage was changed." in (await opened(client, f"{PAGE}?done=moved")).said
        # Forward while something is missing: it says what, and lets a person decide.
        sheet = await asked("/move", f"{PAGE}/move", stage="on", reason="In a hurry")
        assert "This stage may not end yet" in sheet.said
        sheet = await asked("/move", f"{PAGE}/move", stage="off", reason="Back")
        assert "This stage may not end yet" not in sheet.said

        sheet = await asked("/stop", why="complaints", reason="Two members cannot open a thread")
        for words in ("new conversations open in V1", "Nobody loses a word", "Two members cannot open a thread"):
            assert words in sheet.said
        assert await flag(scratch) == ("internal", None)
        form = sheet.form("/stop")
        assert await led(client, form) == f"{PAGE}?done=stopped"
        assert (await flag(scratch))[1] == "killed"
        await led(client, form)  # the second tap is the first one's
        assert await scratch.owner.fetchval("select count(*) from care.rollout_changes where action = 'kill'") == 1
        await node.flags.refresh()
        assert "Two members cannot open a thread" in (await opened(client, PAGE)).said

        sheet = await asked("/go-on", reason="Mended")
        assert sheet.form("/go-on").fields["stage"] == "internal"
        assert await led(client, sheet.form("/go-on")) == f"{PAGE}?done=resumed"
        assert await flag(scratch) == ("internal", None)
        # After V1's end a stop is a pause, and nothing promises V1.
        await scratch.owner.execute("update care.rollout_flags set retired_at = now()")
        sheet = await asked("/stop", why="errors", reason="Offers fail")
        assert "new offers are paused" in sheet.said
        assert "From now on new conversations open in V1" not in sheet.said
    actors = {line[0] for line in await audited(scratch)}
    assert len(actors) == 1


async def test_what_is_wrong_is_said_and_what_was_typed_is_kept(scratch: Care, node: Services) -> None:
    town = await scratch.town()
    await changed(scratch, node, "set", stage="on")
    async with _operator(node, town) as client:
        form = (await opened(client, PAGE)).form("/stop")
        for typed, words in (
            ({"why": "", "reason": "It hurts"}, "Choose one of these."),
            ({"why": "errors", "reason": " "}, "Please write something here."),
            ({"why": "weather", "reason": "It hurts", "sure": "yes"}, "Choose one of these."),
            ({"why": "errors", "reason": "a" * 1001, "sure": "yes"}, "Please keep this to 1000 characters"),
        ):
            sheet = await refused(client, form, 400, **typed)
            assert words in sheet.said
            again = sheet.form("/stop").fields
            assert (again["reason"], again["key"]) == (typed["reason"], form.fields["key"])
        move = (await opened(client, f"{PAGE}/move")).form("/move")
        sheet = await refused(client, move, 400, stage="percentage:abc", reason="Half of us")
        assert sheet.form("/move").fields["reason"] == "Half of us"
        # Another site's form, or an old page's: kept, and not done.
        sheet = await refused(client, form, 403, csrf_token="other", why="errors", reason="It hurts", sure="yes")
        assert sheet.form("/stop").fields["reason"] == "It hurts"
        stranger = await client.post(f"{PAGE}/stop", data=form.fields, headers={"Origin": "http://evil.example"})
        assert stranger.status_code == 403
        assert await flag(scratch) == ("on", None)

        # Somebody was faster.
        sheet = Sheet((await sent(client, form, why="errors", reason="It hurts")).text)
        await changed(scratch, node, "kill", why="security")
        late = await refused(client, sheet.form("/stop"), 409)
        assert "V2 was stopped already, so nothing was changed." in late.said
        await opened(client, f"{PAGE}?done=stopped")
        assert (await client.get(f"{PAGE}/stop")).headers["location"] == PAGE
        client.cookies.clear()
        answer = await sent(client, form, why="errors", reason="It hurts")
        assert (answer.status_code, "It hurts" in answer.text) == (401, True)


async def test_it_speaks_spanish_and_the_numbers_are_tables(scratch: Care, node: Services) -> None:
    town = await scratch.town()
    await changed(scratch, node, "set", stage="percentage:50")
    await an_hour_old(scratch)
    await told(scratch, "v2", "success", 99)
    await told(scratch, "v2", "failure", 1, "rpc_error")
    await node.guard.look()
    async with _operator(node, town, **{"accept-language": "es"}) as client:
        sheet = await opened(client, PAGE)
        for words in ("50 de cada 100 miembros", "99 de 100 ofertas en V2", "99.0 %", "rpc_error 1"):
            assert words in sheet.said, words
        for english in ("succeeded", "New conversations", "must never", "offers"):
            assert english not in sheet.said, english
        pictures = [found for tag, found in sheet.tags if tag == "svg" and found.get("role") == "img"]
        assert len(pictures) == len([one for one in pictures if one.get("aria-describedby")]) == 4
        assert len([tag for tag, _ in sheet.tags if tag == "table"]) == 5
        live = await opened(client, f"{PAGE}/live")
        assert [tag for tag, _ in live.tags if tag in ("html", "form", "main")] == []
