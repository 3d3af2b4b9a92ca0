"""The first plan's seven checks over HTTP, in both engines, and where an offer leads."""

from uuid import UUID

from harness import FIRST_WORDS, Town
from web_harness import MakeClient

OFFER = {"initial_message": FIRST_WORDS}


def start(request: UUID) -> str:
    return f"/api/messaging/help-requests/{request}/start-conversation"


async def test_the_flag_decides_the_engine_and_an_offer_opens(client: MakeClient, town: Town, engine: str) -> None:
    owner, helper = await town.member("Olga"), await town.member("Hal")
    request = await town.request(owner)

    features = await client(helper).get("/api/features")
    opened = await client(helper).post(start(request), json=OFFER)

    assert features.json() == {"messaging_v2": engine == "v2"}
    assert opened.status_code == 201
    assert opened.json()["version"] == engine
    assert opened.json()["help_request_id"] == str(request)
    inbox = (await client(owner).get("/api/messaging/conversations")).json()
    assert [c["id"] for c in inbox["conversations"]] == [opened.json()["conversation_id"]]


async def test_a_second_offer_leads_to_the_first(client: MakeClient, town: Town) -> None:
    helper = await town.member("Hal")
    request = await town.request(await town.member("Olga"))
    first = await client(helper).post(start(request), json=OFFER)

    again = await client(helper).post(start(request), json=OFFER)

    assert again.status_code == 409
    assert again.json()["code"] == "conversation_exists"
    assert again.json()["conversation_id"] == first.json()["conversation_id"]
    assert again.json()["status"] == "active"


async def test_a_closed_request_takes_no_offer(client: MakeClient, town: Town) -> None:
    request = await town.request(await town.member("Olga"), status="cancelled")

    answer = await client(await town.member("Hal")).post(start(request), json=OFFER)

    assert answer.status_code == 400
    assert answer.json()["code"] == "help_request_unavailable"


async def test_nobody_offers_on_their_own_request(client: MakeClient, town: Town) -> None:
    owner = await town.member("Olga")

    answer = await client(owner).post(start(await town.request(owner)), json=OFFER)

    assert answer.status_code == 400
    assert (answer.json()["code"], answer.json()["reason"]) == ("validation_error", "own_request")


async def test_who_is_not_approved_waits(client: MakeClient, town: Town) -> None:
    request = await town.request(await town.member("Olga"))

    answer = await client(await town.member("Pia", status="pending")).post(start(request), json=OFFER)

    assert answer.status_code == 403
    assert (answer.json()["code"], answer.json()["reason"]) == ("permission_denied", "not_approved")


async def test_nobody_is_answered_401_before_anything_else(client: MakeClient, town: Town) -> None:
    request = await town.request(await town.member("Olga"))

    answer = await client(None).post(start(request), content=b"not even JSON")

    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthenticated"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
