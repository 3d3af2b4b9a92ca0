"""Asks a deployed database whether it is what this release claims: `doctor --deployed`. Changes nothing.

Three questions: is everything there as the committed catalogue has it; does a rule of sql/lints find something; do the
three functions that other people's clients call refuse whom they must refuse. No row of a member is read.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.resources import files
from itertools import product
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import msgspec

from care_collective.db.call import NOBODY, Caller
from care_collective.db.migrate import plan, rooms
from care_collective.errors import SettingsError
from care_collective.operations.catalogue import Argument, Column, Constraint, Function, Index, Relation, Thing
from care_collective.operations.catalogue import expected as expected_things
from care_collective.operations.catalogue import read as read_things

_LINTS: Final = files("care_collective") / "sql" / "lints"
_WORDS: Final = "A call of the doctor's, rolled back."
_REFUSED: Final = "permission_denied, identity"
_NO_RIGHT: Final = "SQLSTATE 42501"


class Finding(msgspec.Struct, frozen=True, order=True):
    """One way in which the database is not what it claims: a kind, on what, and expected against found."""

    kind: str
    subject: str
    expected: str
    found: str


class Report(msgspec.Struct, frozen=True):
    """What was found, and among how many `things` of the catalogue, by how many `rules` and `calls`.

    `calls` is 0 where a function is not what it claims: a text that is not this release's is not run.
    """

    findings: list[Finding]
    things: int
    rules: int
    calls: int


async def examine(connection: asyncpg.Connection) -> Report:
    """The whole examination, in one transaction that is rolled back.

    `connection` has the owner's rights. Errors: SettingsError for a database that another release has written.
    """
    async with _rolled_back(connection):
        await connection.execute("set local search_path = pg_catalog, pg_temp")
        await _refuse_other_releases(connection)
        wanted = expected_things()
        found = await read_things(connection, {_plain_name(thing) for thing in wanted})
        findings = sorted(differences(wanted, found))
        rules = sorted(entry.name.removesuffix(".sql") for entry in _LINTS.iterdir() if entry.name.endswith(".sql"))
        for rule in rules:
            findings += await _broken(connection, rule)
        calls = 0
        if not any("function" in finding.kind for finding in findings):
            async for call in _calls(connection):
                calls += 1
                findings += [call] if call.expected != call.found else []
        return Report(findings, len(wanted), len(rules), calls)


@asynccontextmanager
async def _rolled_back(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """A transaction, or within one a savepoint, of which nothing stays."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


async def _refuse_other_releases(connection: asyncpg.Connection) -> None:
    ours = {room: hashlib.sha256(text.encode()).hexdigest() for room, text in rooms().items()}
    rows = await connection.fetch("select room, checksum, release from care.schema_functions order by release desc")
    if {row["room"]: row["checksum"] for row in rows} != ours:
        releases = ", ".join(sorted({row["release"] for row in rows})) or "none"
        raise SettingsError(
            f"The functions of this database were written by another release (it names {releases}). "
            "Only that release knows what to expect: run its own `doctor --deployed`, or `care-collective migrate`."
        )
    lacking = (await plan(connection)).migrations
    if lacking:
        raise SettingsError(f"The database lacks migration {lacking[0].name}. Run `care-collective migrate` first.")


# --- Expected against found


def differences(wanted: list[Thing], found: list[Thing]) -> Iterator[Finding]:
    """What is missing, what is there beyond, and what is otherwise. The parts of what is missing are not counted."""
    expected = {(type(thing), thing.name): thing for thing in wanted}
    present = {(type(thing), thing.name): thing for thing in found}
    for key, thing in expected.items():
        if key in present:
            yield from _otherwise(thing, present[key])
        elif _within(thing, present):
            yield Finding(f"missing_{_form(thing)}", thing.name, _shown(thing), "nothing")
    for key, thing in present.items():
        if key not in expected and _within(thing, expected) and not _harmless(thing):
            yield Finding(f"unexpected_{_form(thing)}", thing.name, "nothing", _shown(thing))


def _within(thing: Thing, others: dict[tuple[type[Thing], str], Thing]) -> bool:
    """Whether a thing stands by itself, or its relation is among the others."""
    return isinstance(thing, Relation | Function) or (Relation, thing.name.rpartition(".")[0]) in others


def _harmless(thing: Thing) -> bool:
    """An index for an operator's own reports; a unique one would refuse what the functions write."""
    return isinstance(thing, Index) and not thing.definition.startswith("CREATE UNIQUE")


def _otherwise(wanted: Thing, found: Thing) -> Iterator[Finding]:
    expected, present = _aspects(wanted), _aspects(found)
    for aspect in sorted(expected.keys() | present.keys()):
        if expected.get(aspect) != present.get(aspect):
            kind = f"{_form(wanted)}_{aspect}"
            yield Finding(kind, wanted.name, _value(aspect, expected.get(aspect)), _value(aspect, present.get(aspect)))


def _aspects(thing: Thing) -> dict[str, Any]:
    facts = {field: getattr(thing, field) for field in thing.__struct_fields__ if field not in ("name", "comment")}
    settings = facts.pop("settings", {})
    return {**facts, **settings}


def _value(aspect: str, value: Any) -> str:  # noqa: ANN401  whatever a thing has
    match value:
        case None | []:
            return "none"
        case [Argument(), *_]:
            return ", ".join(f"{a.name} {a.type}" + (f" default {a.value}" if a.value else "") for a in value)
        case list():
            return ", ".join(value)
        case bool():
            return "yes" if value else "no"
        case str() if aspect == "body":
            return f"a text with SHA-256 {hashlib.sha256(value.encode()).hexdigest()[:16]}…"
        case _:
            return " ".join(str(value).split()) or "''"


def _form(thing: Thing) -> str:
    return thing.form.replace(" ", "_") if isinstance(thing, Relation) else type(thing).__name__.lower()


def _shown(thing: Thing) -> str:
    match thing:
        case Constraint() | Index():
            return thing.definition
        case Column():
            return thing.type
        case Function():
            return f"owned by {thing.owner}, {thing.security}, callers: {_value('callers', thing.callers)}"
        case Relation():
            return f"owned by {thing.owner}"


def _plain_name(thing: Thing) -> str:
    return thing.plain_name if isinstance(thing, Function) else thing.name


# --- Rules


async def _broken(connection: asyncpg.Connection, rule: str) -> list[Finding]:
    """What breaks a rule. Its file begins with the rule in a line, and the reason after it."""
    text = (_LINTS / f"{rule}.sql").read_text("utf-8")
    head = text.partition("\n")[0].removeprefix("-- ")
    return sorted(Finding(rule, row["subject"], head, row["found"]) for row in await connection.fetch(text))


# --- Calls


async def _calls(connection: asyncpg.Connection) -> AsyncIterator[Finding]:
    """Each of the three functions, called as nobody and as wrong people, with what it must answer and what it does."""
    for role in ("authenticated", "care_app", "anon"):
        problem = await _cannot_become(connection, role)
        if problem is not None:
            yield Finding("call", f"as {role}", "the calls can be made", problem)
            continue
        right = _NO_RIGHT if role == "anon" else _REFUSED
        me, other = uuid4(), uuid4()
        people = {"nobody": (NOBODY, me), "a stranger": (Caller(me), me), "a wrong person": (Caller(me), other)}
        for (who, (caller, person)), (function, arguments) in product(people.items(), _fixed(other).items()):
            given = {name: person if value is None else value for name, value in arguments.items()}
            found = await _answer(connection, role, caller, function, given)
            yield Finding("call", f"{function} as {role}, {who}", right, found)


def _fixed(some: UUID) -> dict[str, dict[str, object]]:
    """The three functions whose signatures never change (contract.md section 3); None stands for the person's id."""
    return {
        "public.create_conversation_atomic": {
            "p_help_request_id": some,
            "p_helper_id": None,
            "p_initial_message": _WORDS,
        },
        "public.send_message_v2": {"p_conversation_id": some, "p_sender_id": None, "p_content": _WORDS},
        "public.get_conversation_v2": {"p_conversation_id": some, "p_user_id": None},
    }


async def _become(connection: asyncpg.Connection, role: str) -> None:
    try:
        async with connection.transaction():
            await connection.execute(f"set local role {role}")
    except asyncpg.InsufficientPrivilegeError:
        # Whoever may give the role may take it for the length of this transaction.
        await connection.execute("set local role none")
        await connection.execute(f"grant {role} to current_user")
        await connection.execute(f"set local role {role}")


async def _cannot_become(connection: asyncpg.Connection, role: str) -> str | None:
    try:
        async with _rolled_back(connection):
            await _become(connection, role)
    except asyncpg.PostgresError as error:
        user = await connection.fetchval("select session_user")
        return f"not called ({error.sqlstate}): {user} has to be a member, `grant {role} to {user}`"
    return None


async def _answer(
    connection: asyncpg.Connection, role: str, caller: Caller, function: str, arguments: dict[str, object]
) -> str:
    """The code and reason of a refusal, `success`, or the SQLSTATE of what was raised."""
    named = ", ".join(f"{name} => ${place}" for place, name in enumerate(arguments, start=1))
    try:
        async with _rolled_back(connection):
            await _become(connection, role)
            await connection.execute("select set_config('request.jwt.claims', $1, true)", caller.claims())
            answer = json.loads(await connection.fetchval(f"select {function}({named})", *arguments.values()))
    except asyncpg.PostgresError as error:
        return f"SQLSTATE {error.sqlstate}"
    return ", ".join(str(answer[part]) for part in ("error", "reason") if part in answer) or "success"
