"""Settings as pages, without scripts: what each state of a member may change, and a pause that others can read of."""

import hashlib

import pytest

from care_collective.web.pages.zones import by_region, zones
from care_collective.web.services import Services
from harness import FIRST_WORDS, Care, Town
from web.pages import Sheet, led, opened, refused, sent, visitor
from web_harness import services_for


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """Pages know no engine: one is enough where an offer is not what is tested."""
    return str(getattr(request, "param", "v2"))


async def test_what_was_chosen_is_kept_and_holds_from_the_next_page_on(services: Services, town: Town) -> None:
    ann = await town.member("Ann")
    async with await visitor(services, ann) as client:
        form = (await opened(client, "/settings")).form("/settings")
        assert (form.fields["email"], form.fields["quiet_from"], form.fields["time_zone"]) == ("each", "21:00", "")
        chosen = {"email": "daily", "quiet_from": "22:30", "locale": "es", "time_zone": "America/Port-au-Prince"}
        place = await led(client, form, **chosen)
        page = await opened(client, place)
        assert "Tus ajustes están guardados." in page.said
        again = page.form("/settings")
        assert {name: again.fields[name] for name in chosen} == chosen
        # A second tap of the first form is that first choice once more; an older page's other words are another one.
        assert await led(client, form, **chosen) == place
        other = await refused(client, form, 422, **chosen, quiet_to="09:00")
        assert await led(client, other.form("/settings")) == place
        wrong = await refused(client, again, 400, quiet_to="later", time_zone="")
        assert "Da una hora del día, por ejemplo 21:00." in wrong.said
        assert wrong.form("/settings").fields["quiet_to"] == "later"
        assert (
            await led(client, page.form("/profile"), display_name="Ann Moss", town="Linden")
        ) == "/settings?done=profile"
        assert "Ann Moss" in (await opened(client, "/account")).said
        blank = await refused(client, (await opened(client, "/settings")).form("/profile"), 400, display_name=" ")
        assert blank.form("/profile").fields["display_name"] == " "
        assert (await client.get("/settings/profile")).headers["location"] == "/settings"


async def test_every_zone_of_the_list_is_one_that_the_database_knows(shared: Care) -> None:
    assert len(zones()) > 300
    spanish = dict(by_region("es"))
    assert ("Europe/London", "Londres") in spanish["Europa"]
    assert ("Asia/Kolkata", "Calcuta") in spanish["Asia"]
    assert sorted(zone for cities in spanish.values() for zone, _ in cities) == list(zones())
    unknown = [
        row[0]
        for row in await shared.owner.fetch(
            "select z from unnest($1::text[]) as z where not care.is_time_zone(z)", list(zones())
        )
    ]
    assert unknown == []


@pytest.mark.parametrize(
    ("state", "chooses", "presents"),
    [("pending", True, True), ("rejected", True, True), ("limited", True, True), ("suspended", True, False),
     ("banned", False, False)],
)  # fmt: skip
async def test_each_state_changes_what_is_its_own(
    services: Services, town: Town, state: str, chooses: bool, presents: bool
) -> None:
    approved = state not in {"pending", "rejected"}
    ann = await town.member("Ann", status="approved" if approved else state)
    async with await visitor(services, ann) as client:
        # Opened before the restriction, sent after it: the function judges, not the page.
        before = await opened(client, "/settings")
        if approved:
            await town.restrict(ann, state, why="Sent adverts")
        page = await opened(client, "/settings")
        assert page.offers("/settings") == chooses
        assert page.offers("/settings/profile") == presents
        assert {"/settings/data"} <= {found["href"] for tag, found in page.tags if tag == "a"}
        chosen = await sent(client, before.form("/settings"), email="off")
        assert chosen.status_code == (303 if chooses else 403)
        presented = await sent(client, before.form("/profile"), display_name="Ann Moss")
        assert presented.status_code == (303 if presents else 403)
        if not presents:
            assert "Sent adverts" in presented.text
        # Nobody who may not ask is led to asking.
        assert "/requests/new" not in {found.get("href") for _, found in (await opened(client, "/")).tags}
    assert await town.count("public.messaging_preferences", "email = 'off'") == int(chooses)
    assert await town.count("public.profiles", "display_name = 'Ann Moss'") == int(presents)


async def test_forms_of_another_session_or_site_change_nothing(services: Services, town: Town) -> None:
    ann, eve = await town.member("Ann"), await town.member("Eve")
    async with await visitor(services, ann) as client, await visitor(services, eve) as other:
        foreign = (await opened(other, "/settings")).form("/settings").fields["csrf_token"]
        page, password = await opened(client, "/settings"), await opened(client, "/settings/password")
        for form in (page.form("/settings"), page.form("/profile"), password.form("/password")):
            for token in ("", foreign):
                assert "too long" in (await refused(client, form, 403, csrf_token=token)).said
            answer = await client.post(form.action, data=form.fields, headers={"Origin": "https://evil.example"})
            assert answer.status_code == 403
        client.cookies.clear()
        ended = await sent(client, page.form("/profile"), display_name="Typed before the end")
        assert (ended.status_code, "Typed before the end" in ended.text) == (401, True)
    assert await town.count("public.messaging_preferences") == 0


@pytest.mark.parametrize("engine", ["v1", "v2"], indirect=True)
async def test_a_pause_reads_as_unavailable_to_others_and_is_told_to_the_owner(services: Services, town: Town) -> None:
    owner, helper, known = await town.member("Olga"), await town.member("Hal"), await town.member("Kim")
    request = await town.request(owner)
    async with (
        await visitor(services, owner) as asking,
        await visitor(services, helper) as helping,
        await visitor(services, known) as talking,
    ):
        form = (await opened(helping, f"/requests/{request}")).form("/offer")
        second = (await opened(talking, f"/requests/{request}")).form("/offer")
        thread = await led(
            talking, (await opened(talking, f"/requests/{request}")).form("/offer"), initial_message=FIRST_WORDS
        )
        await led(asking, (await opened(asking, "/settings")).form("/settings"), offers_paused="yes")
        assert "Takes no offers just now" in (await opened(helping, "/requests")).said
        late = await sent(helping, form, initial_message="I wrote this before the pause.")
        page = Sheet(late.text)
        assert late.status_code == 400
        assert "This request takes no offers just now" in page.said
        assert "I wrote this before the pause." in page.said
        assert not page.offers("/offer")
        again = await led(talking, second, initial_message=FIRST_WORDS)  # from another window
        assert again.partition("?")[0] == thread.partition("?")[0]
        for path in ("/requests/mine", f"/requests/{request}"):
            mine = await opened(asking, path)
            assert "paused" in mine.said
            assert ("a", "/settings") in {(tag, found.get("href")) for tag, found in mine.tags}


async def test_a_page_that_is_not_there_keeps_a_members_header_and_asks_the_database_nothing(
    services: Services, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await visitor(services, await town.member("Ann")) as client:

        async def never(*_: object, **__: object) -> None:
            raise AssertionError("a missing page asked the database")

        monkeypatch.setattr(type(services.database), "_row", never)
        page = await opened(client, "/nothing-here", 404)
        links = {found["href"] for tag, found in page.tags if tag == "a"}
        assert "/account" in links
        assert "/sign-up" not in links
        client.cookies.clear()
        assert "/sign-up" in {
            found["href"] for tag, found in (await opened(client, "/nothing-here", 404)).tags if tag == "a"
        }


async def test_notices_on_a_device_are_offered_where_they_can_come_and_end_with_signing_out(
    services: Services, town: Town
) -> None:
    ann, bob = await town.member("Ann"), await town.member("Bob")
    async with await visitor(services, ann) as client:
        assert "On this device" not in (await opened(client, "/settings")).said
    offering = services_for(town.care, base_url="https://care.example")
    assert offering.pusher is not None
    endpoint = "https://push.example/one"
    for member in (ann, bob):
        await member.call("add_push_subscription", endpoint=endpoint, p256dh=f"B{'A' * 86}", auth="A" * 22)
    async with await visitor(offering, bob) as client:
        client.cookies.set("__Host-care_session", client.cookies["care_session"])
        page = await opened(client, "/settings")
        (section,) = [found for tag, found in page.tags if "data-push" in found]
        assert section["data-key"] == offering.pusher.services.public_key
        assert section["data-known"] == hashlib.sha256(endpoint.encode()).hexdigest()
        assert "hidden" in section
        worker = await client.get("/push-worker.js")
        assert worker.headers["content-type"].startswith("text/javascript")
        assert worker.headers["cache-control"] == "no-cache"
        assert "default-src 'self'" in worker.headers["content-security-policy"]
        # Another's browser is nobody's to take, and there is nothing to tell of it.
        assert await led(client, page.form("/sign-out"), push_endpoint="https://push.example/two") == "/"
    assert await town.count("care.push_subscriptions") == 1
    async with await visitor(offering, bob) as client:
        client.cookies.set("__Host-care_session", client.cookies["care_session"])
        form = (await opened(client, "/settings")).form("/sign-out")
        assert await led(client, form, push_endpoint=endpoint) == "/"
    assert await town.count("care.push_subscriptions") == 0
    await offering.close()
