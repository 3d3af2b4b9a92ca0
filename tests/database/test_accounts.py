"""People and sign-in as the web process and the operators' commands call them."""

import asyncio
import hashlib
import json
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from database.steps import code
from harness import Care, Person, Town

SECRET = "$argon2id$v=19$m=1$stand-in"


def hashed(cookie: str) -> bytes:
    """What the session table holds of a cookie."""
    return hashlib.sha256(cookie.encode()).digest()


async def sign_up(town: Town, email: str, **changed: object) -> dict[str, Any]:
    """Signs somebody up through the web process's function."""
    answer = await town.care.database.call(
        "care.sign_up",
        **{"p_community_id": town.community_id, "p_email": email, "p_secret": SECRET, "p_display_name": " Ann ",
           "p_town": None, "p_application_words": "\u200b", **changed},
    )  # fmt: skip
    return json.loads(answer.text)  # type: ignore[no-any-return]


async def test_who_signs_up_is_pending_and_found_by_address(town: Town) -> None:
    email = f"{uuid4().hex}@example.org"
    answer = await sign_up(town, email)
    me = Person(town, UUID(answer["user_id"]), "Ann")
    seen = await me.call("care.me")
    expected = {
        "email": email, "display_name": "Ann", "town": None, "verification_status": "pending", "is_coordinator": False,
        "is_operator": False, "restriction": None,
    }  # fmt: skip
    assert {name: seen[name] for name in expected} == expected
    assert seen["community"]["id"] == str(town.community_id)
    found = (await town.care.database.call("care.find_credential", p_email=email)).data()
    assert found.pop("set_at")
    assert found == {"user_id": answer["user_id"], "secret": SECRET}
    assert await town.care.database.value("care.find_credential", p_email="nobody@example.org") is None


async def test_an_address_that_is_taken_changes_nothing(town: Town) -> None:
    email = f"{uuid4().hex}@example.org"
    await sign_up(town, email)
    again = await sign_up(town, email, p_secret="stolen", p_display_name="Mallory")
    assert (code(again), set(again["fields"])) == ("validation_error", {"email"})
    assert (await town.care.database.call("care.find_credential", p_email=email)).data()["secret"] == SECRET
    assert await town.count("public.profiles", "display_name = 'Mallory'") == 0


async def test_a_sign_up_that_fails_leaves_no_user(town: Town) -> None:
    email = f"{uuid4().hex}@example.org"
    with pytest.raises(asyncpg.CheckViolationError):
        await town.care.owner.fetchval(
            "select care.sign_up($1, $2, 'x', $3, null, null)", town.community_id, email, "x" * 81
        )
    assert await town.care.owner.fetchval("select count(*) from care.users where email = $1", email) == 0


async def test_a_session_opens_for_living_members_until_it_expires_or_is_closed(town: Town) -> None:
    member, database = await town.member(), town.care.database

    async def opened(cookie: str, person: UUID, seconds: int = 60) -> bool:
        return bool(await database.value("care.open_session", p_id_hash=hashed(cookie), p_user_id=person,
                                         p_community_id=town.community_id, p_seconds=seconds))  # fmt: skip

    async def read(cookie: str) -> str | None:
        value = await database.value("care.read_session", p_id_hash=hashed(cookie))
        return None if value is None else str(value)

    one, old = uuid4().hex, uuid4().hex
    assert await opened(one, member.user_id)
    assert str(member.user_id) in str(await read(one))
    assert await read(old) is None
    assert await opened(old, member.user_id, seconds=0)
    assert await read(old) is None
    await database.value("care.close_session", p_id_hash=hashed(one))
    assert await read(one) is None
    foreigner = await (await town.care.town()).member()
    assert not await opened(uuid4().hex, foreigner.user_id)
    await town.care.owner.execute("update public.profiles set deleted_at = now() where user_id = $1", member.user_id)
    assert not await opened(uuid4().hex, member.user_id)


async def test_the_eleventh_sign_in_of_an_account_from_an_address_waits(town: Town) -> None:
    account = uuid4().hex

    async def take(address: str = "192.0.2.1") -> int:
        arguments = {"p_community_id": town.community_id, "p_account": account, "p_address": address}
        return int(await town.care.database.value("care.take_sign_in", **arguments))

    assert [await take() for _ in range(10)] == [0] * 10
    assert 895 <= await take() <= 900
    assert await take("192.0.2.2") == 0
    await town.care.owner.execute(
        "update care.sign_in_attempts set window_start = now() - interval '15 minutes' where account = $1", account
    )
    assert await take() == 0


async def test_a_decision_holds_from_the_next_call_on(town: Town) -> None:
    member = await town.member(status="pending")
    for status, expected in (("approved", "success"), ("rejected", "permission_denied/not_approved")):
        await town.care.owner.execute(
            "select care.decide_member($1, $2, $3, ' Please call us ')", town.community_id, member.user_id, status
        )
        assert code(await member.call("list_help_requests")) == expected
        assert (await member.call("care.me"))["decision_reason"] == "Please call us"


async def test_roles_are_given_and_taken_back(town: Town) -> None:
    member = await town.member()

    async def given() -> tuple[bool, bool, bool]:
        seen = await member.call("care.me")
        cohort = await town.care.database.value("care.is_in_cohort", member.caller())
        return seen["is_coordinator"], seen["is_operator"], bool(cohort)

    async def give(role: str) -> tuple[bool, bool, bool]:
        await town.care.owner.execute(
            "select care.set_role($1, $2, $3, 'test')", town.community_id, member.user_id, role
        )
        return await given()

    assert await give("coordinator") == (True, False, True)
    assert await give("operator") == (True, True, True)
    # The deployment's right is none of the community's roles.
    assert await give("member") == (False, True, True)
    assert await give("coordinator") == (True, True, True)
    await town.care.owner.execute("select care.take_operator($1)", member.user_id)
    assert await given() == (True, False, True)
    assert await give("member") == (False, False, False)
    assert await town.care.database.value("care.is_in_cohort") is False


async def test_hosts_lead_to_their_community(town: Town) -> None:
    async def community(host: str) -> UUID | None:
        value = await town.care.database.value("care.community_for_host", p_host=host)
        return None if value is None else UUID(str(value))

    assert await community(town.host) == town.community_id
    assert await community("unknown.example") is None  # several, and none named
    known = (await town.care.database.call("care.get_community", p_community_id=town.community_id)).data()
    assert set(known) == {"id", "slug", "name", "time_zone", "locale", "emergency_line"}
    assert await town.care.database.value("care.get_community", p_community_id=uuid4()) is None


async def test_the_only_community_answers_at_any_host(scratch: Care) -> None:
    only = await scratch.owner.fetchval(
        "insert into public.communities (slug, name) values ('only', 'Only') returning id"
    )
    await scratch.owner.execute("insert into public.communities (slug, name, is_probe) values ('probe', 'Probe', true)")
    assert await scratch.database.value("care.community_for_host", p_host="any.example") == only


async def test_of_two_new_passwords_in_the_place_of_one_the_first_wins_and_sessions_end(town: Town) -> None:
    ann = await town.member("Ann")
    database = town.care.database
    await database.value("care.store_secret", p_user_id=ann.user_id, p_secret=SECRET)
    set_at = await database.value("care.password_set_at", p_user_id=ann.user_id)
    sessions = [bytes([number]) * 32 for number in (1, 2, 3)]
    for one in sessions:
        await database.value("care.open_session", p_id_hash=one, p_user_id=ann.user_id,
                             p_community_id=town.community_id, p_seconds=60)  # fmt: skip
    both = await asyncio.gather(
        *(
            database.value(
                "care.replace_password",
                p_user_id=ann.user_id,
                p_secret=f"{SECRET}{number}",
                p_set_at=set_at,
                p_keep_session=sessions[0],
            )
            for number in (1, 2)
        )
    )
    assert sorted(both) == [False, True]
    there = [await database.value("care.read_session", p_id_hash=one) is not None for one in sessions]
    assert there == [True, False, False]
    assert await database.value("care.password_set_at", p_user_id=ann.user_id) > set_at


async def test_a_new_password_waits_for_a_deletion_and_never_each_for_the_other(town: Town) -> None:
    ann = await town.member("Ann")
    await town.care.database.value("care.store_secret", p_user_id=ann.user_id, p_secret=SECRET)
    set_at = await town.care.database.value("care.password_set_at", p_user_id=ann.user_id)
    opened = {"p_id_hash": bytes([7]) * 32, "p_user_id": ann.user_id, "p_community_id": town.community_id}
    await town.care.database.value("care.open_session", **opened, p_seconds=60)
    leaving = await town.care.connect()
    async with leaving.transaction():
        # In the order of care.erase_member.
        await leaving.fetchval("select care.lives_elsewhere($1, $2)", town.community_id, ann.user_id)
        await leaving.execute("delete from care.sessions where user_id = $1", ann.user_id)
        changed = asyncio.create_task(
            town.care.owner.fetchval("select care.replace_password($1, 'new', $2, null)", ann.user_id, set_at)
        )
        waiting = "select count(*) from pg_locks where not granted"
        while not changed.done() and not await leaving.fetchval(waiting):  # noqa: ASYNC110  the server has no event
            await asyncio.sleep(0.01)
        await leaving.execute("delete from care.credentials where user_id = $1", ann.user_id)
    await leaving.close()
    assert await changed is False


async def test_whoever_asks_for_somebodys_new_password_again_and_again_has_few_letters_sent(town: Town) -> None:
    ann, owner = await town.member("Ann"), town.care.owner
    await town.care.database.value("care.store_secret", p_user_id=ann.user_id, p_secret=SECRET)
    email = await owner.fetchval("select email from care.users where id = $1", ann.user_id)
    for _ in range(30):
        await town.care.database.value("care.ask_password_reset", p_community_id=town.community_id, p_email=email)
        await owner.execute(
            "update care.deliveries set created_at = created_at - interval '6 minutes' where user_id = $1", ann.user_id
        )
    # Three at once, then one an hour of three.
    assert await town.count("care.deliveries", f"user_id = '{ann.user_id}'") == 5
