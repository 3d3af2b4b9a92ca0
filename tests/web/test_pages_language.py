"""The language and the time zone of pages: the member's own, else the browser's, else the community's."""

from uuid import uuid4

import pytest

from care_collective.web.services import Services
from harness import FIRST_WORDS, Town
from web.pages import Sheet, opened, refused, visitor
from web_harness import browser


@pytest.fixture
def engine() -> str:
    """Pages know no engine."""
    return "v2"


async def test_a_member_reads_in_their_own_language_and_time(services: Services, town: Town) -> None:
    owner, person = await town.member("Olga"), await town.member("Ana")
    request = await town.request(owner)
    thread = await person.offer_v2(request)
    await town.care.owner.execute(
        "update public.profiles set locale = 'es', time_zone = 'Asia/Tokyo' where user_id = $1", person.user_id
    )
    await town.care.owner.execute(
        "update public.conversations_v2 set created_at = '2026-01-02 20:15+00' where id = $1::uuid",
        str(thread["conversation_id"]),
    )
    async with await visitor(services, person, **{"accept-language": "en"}) as client:
        page = await opened(client, f"/messages/{thread['conversation_id']}")
        for words in (FIRST_WORDS, "sábado, 3 de enero de 2026", "5:15", "Tu mensaje", "Abierta", "Enviar"):
            assert words in page.said
        assert ("html", {"lang": "es"}) in page.tags
        form = page.form(str(thread["conversation_id"]))
        page = await refused(client, form, 400, content="x" * 1001)
        assert "No pases de 1000 caracteres; ahora hay 1001." in page.said
        assert "Referencia" not in page.said
        page = await opened(client, f"/requests/{uuid4()}", 404)
        assert "No hemos podido encontrar esto." in page.said
        assert "Mis peticiones" in page.said


async def test_who_has_not_chosen_reads_as_their_browser_or_their_community_does(
    services: Services, town: Town
) -> None:
    await town.care.owner.execute("update public.communities set locale = 'es' where id = $1", town.community_id)
    async with browser(services, town) as client:
        for header, words in (
            ("es-MX, en;q=0.5", "Vecinos"),
            ("en-GB", "Neighbours"),
            ("fr", "Vecinos"),
            ("", "Vecinos"),
        ):
            answer = await client.get("/", headers={"accept-language": header})
            assert words in Sheet(answer.text).said, header
        answer = await client.get("/nothing", headers={"accept-language": "es"})
        assert "No encontramos esa página" in Sheet(answer.text).said
        wrong = {"email": "nobody@example.org", "password": "not the password"}
        answer = await client.post("/sign-in", data=wrong, headers={"accept-language": "es"})
        assert "La dirección de correo o la contraseña no son correctas." in Sheet(answer.text).said
