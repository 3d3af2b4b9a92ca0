"""Rule 1: whoever cannot be told is nobody, and nobody is refused first, by every function, and leaves no trace."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from care_collective.errors import WORDS, Code
from database.steps import CLIENT_ROLES, Stage, called, claiming, contents, offered, raw_call, stage
from harness import Care

pytestmark = pytest.mark.alike

REFUSED = {
    "success": False,
    "error": "permission_denied",
    "reason": "identity",
    "message": WORDS[(Code.PERMISSION_DENIED, "identity")],
}


def claims(sub: object, community: object = None, **others: object) -> str:
    """Claims as a gateway passes them."""
    named = {} if community is None else {"app_metadata": {"community_id": community}}
    return json.dumps({"sub": sub, "role": "authenticated", **named, **others}, default=str)


NOBODY: dict[str, Callable[[UUID, UUID], str | None]] = {
    "absent": lambda me, here: None,
    "empty": lambda me, here: "",
    "blank": lambda me, here: " ",
    "empty object": lambda me, here: "{}",
    "null": lambda me, here: "null",
    "true": lambda me, here: "true",
    "number": lambda me, here: "1",
    "array": lambda me, here: "[]",
    "array of claims": lambda me, here: f"[{claims(me, here)}]",
    "text": lambda me, here: '"text"',
    "the id as text": lambda me, here: f'"{me}"',
    "no JSON": lambda me, here: f"sub={me}",
    "cut short": lambda me, here: claims(me, here)[:-1],
    "two values": lambda me, here: claims(me, here) * 2,
    "deep nesting": lambda me, here: '{"sub": "%s", "x": %s%s}' % (me, "[" * 100_000, "]" * 100_000),  # noqa: UP031
    "deep and cut short": lambda me, here: '{"a":' * 100_000,
    "no sub": lambda me, here: json.dumps({"role": "authenticated", "app_metadata": {"community_id": str(here)}}),
    "sub null": lambda me, here: claims(None, here),
    "sub empty": lambda me, here: claims("", here),
    "sub no uuid": lambda me, here: claims("root", here),
    "sub too long": lambda me, here: claims(f"{me}0", here),
    "sub NUL": lambda me, here: claims(f"{me}\0", here),
    "sub lone surrogate": lambda me, here: claims(f"{me}\ud800", here),
    "sub number": lambda me, here: claims(1, here),
    "sub huge number": lambda me, here: '{"sub": 1e999999}',
    "sub true": lambda me, here: claims(True, here),
    "sub array": lambda me, here: claims([str(me)], here),
    "sub object": lambda me, here: claims({"sub": str(me)}, here),
    "SUB": lambda me, here: json.dumps({"SUB": str(me), "app_metadata": {"community_id": str(here)}}),
    "unknown user": lambda me, here: claims(uuid4(), here),
    "zero user": lambda me, here: claims(UUID(int=0), here),
    "role anon": lambda me, here: claims(me, here, role="anon"),
    "role service_role": lambda me, here: claims(me, here, role="service_role"),
    "role care_owner": lambda me, here: claims(me, here, role="care_owner"),
    "role empty": lambda me, here: claims(me, here, role=""),
    "role array": lambda me, here: claims(me, here, role=["authenticated"]),
    "no community and there are two": lambda me, here: claims(me),
    "unknown community": lambda me, here: claims(me, uuid4()),
    "community no uuid": lambda me, here: claims(me, "here"),
    "community empty": lambda me, here: claims(me, ""),
    "community number": lambda me, here: claims(me, 1),
    "community array": lambda me, here: claims(me, [str(here)]),
    "community object": lambda me, here: claims(me, {"id": str(here)}),
    "session that is none": lambda me, here: claims(me, here, care_session="ab" * 32),
    "session no digits": lambda me, here: claims(me, here, care_session="nothing"),
    "session null": lambda me, here: claims(me, here, care_session=None),
    "session array": lambda me, here: claims(me, here, care_session=["ab" * 32]),
    "app_metadata text": lambda me, here: claims(me, app_metadata=str(here)),
}


async def connection_as(care: Care, role: str) -> asyncpg.Connection:
    """A fresh session of a role, which has never set claims."""
    connection = await care.connect("care_app" if role == "care_app" else "postgres")
    if role != "care_app":
        await connection.execute(f"set role {role}")
    return connection


@pytest.mark.parametrize("role", CLIENT_ROLES)
async def test_nobody_is_refused_first_by_every_function_and_writes_nothing(stage: Stage, role: str) -> None:
    care, here = stage.town.care, stage.town.community_id
    functions = await offered(care, role)
    assert len(functions) >= 20
    before = await contents(care)
    connection = await connection_as(care, role)

    wrong = []
    for me in (stage.helper.user_id, stage.owner.user_id):
        for case, make in NOBODY.items():
            async with claiming(connection, make(me, here)):
                for function in functions:
                    answer = await called(connection, function.name, stage.named(function, me))
                    if answer != REFUSED:
                        wrong.append((function.name, case, answer))
    await connection.close()

    assert wrong == []
    assert await contents(care) == before


@pytest.mark.parametrize("role", CLIENT_ROLES)
async def test_a_person_who_is_somebody_is_not_refused_for_it(stage: Stage, role: str) -> None:
    care, here = stage.town.care, stage.town.community_id
    connection = await connection_as(care, role)

    for me in (stage.helper.user_id, stage.owner.user_id):
        # Without a role the grants decide alone.
        for good in (claims(me, here), claims(me, here, role=None), claims(str(me).upper(), str(here).upper())):
            for function in await offered(care, role):
                answer = await raw_call(connection, function.name, stage.named(function, me), good)
                assert answer.get("reason") != "identity", (function.name, answer)
                assert answer.get("error") != "server_error", (function.name, answer)
    await connection.close()


async def test_members_of_other_communities_and_the_deleted_are_nobody(stage: Stage) -> None:
    care, here = stage.town.care, stage.town.community_id
    abroad = await care.town()
    foreigner, deleted = await abroad.member(), await stage.town.member()
    await care.owner.execute("update public.profiles set deleted_at = now() where user_id = $1", deleted.user_id)
    before = await contents(care)
    connection = await connection_as(care, "care_app")

    for me, community in (
        (foreigner.user_id, here),
        (stage.helper.user_id, abroad.community_id),
        (stage.owner.user_id, abroad.community_id),
        (deleted.user_id, here),
    ):
        for function in await offered(care):
            answer = await raw_call(connection, function.name, stage.named(function, me), claims(me, community))
            assert answer == REFUSED, function.name
    await connection.close()
    assert await contents(care) == before


@pytest.mark.parametrize("sub", ["helper", "owner", "nobody"])
async def test_a_function_that_names_its_caller_takes_no_other_name(stage: Stage, sub: str) -> None:
    care, here = stage.town.care, stage.town.community_id
    people = {"helper": stage.helper.user_id, "owner": stage.owner.user_id, "nobody": None}
    before = await contents(care)
    connection = await connection_as(care, "care_app")
    functions = [f for f in await offered(care) if f.names_caller]
    assert {f.name for f in functions} == {"create_conversation_atomic", "send_message_v2", "get_conversation_v2"}

    caller = people[sub]
    for named in (*people.values(), uuid4()):
        if named == caller and named is not None:
            continue
        for function in functions:
            values: dict[str, Any] = {**stage.values(stage.owner.user_id), "p_helper_id": named, "p_sender_id": named,
                                      "p_user_id": named}  # fmt: skip
            answer = await raw_call(connection, function.name, {n: values[n] for n in function.arguments},
                                    claims(caller, here) if caller else "")  # fmt: skip
            assert answer == REFUSED, (function.name, named)
    await connection.close()
    assert await contents(care) == before


@pytest.mark.parametrize("role", ["anon", "service_role"])
async def test_anon_and_service_role_may_execute_nothing(stage: Stage, role: str) -> None:
    care, me = stage.town.care, stage.helper.user_id
    connection = await connection_as(care, role)
    for function in await offered(care):
        with pytest.raises(asyncpg.InsufficientPrivilegeError) as refused:
            await raw_call(connection, function.name, stage.named(function, me), claims(me, stage.town.community_id))
        assert refused.value.sqlstate == "42501"
        assert f"function {function.name}" in str(refused.value)
    await connection.close()


async def test_the_only_community_needs_no_name_and_the_probe_is_not_counted(scratch: Care) -> None:
    town = await scratch.town()
    helper = (await stage(town)).helper
    await scratch.owner.execute("delete from public.communities where slug = 'elsewhere'")
    await scratch.owner.execute("insert into public.communities (slug, name, is_probe) values ('probe', 'Probe', true)")
    connection = await connection_as(scratch, "care_app")

    unnamed = await raw_call(connection, "list_conversations", {}, claims(helper.user_id))
    assert len(unnamed["conversations"]) == 1
    # A name that cannot be read is still no name of this community.
    assert await raw_call(connection, "list_conversations", {}, claims(helper.user_id, "here")) == REFUSED

    await scratch.owner.execute("insert into public.communities (slug, name) values ('second', 'Second')")
    assert await raw_call(connection, "list_conversations", {}, claims(helper.user_id)) == REFUSED
    await connection.close()
