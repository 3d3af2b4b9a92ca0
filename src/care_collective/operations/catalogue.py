"""What a database holds of this software: read from its catalogue, and what this release expects to find there.

The expectation is sql/catalogue.jsonl, the answer of sql/catalogue.sql on a migrated database, one line a thing. It is
committed, so that a change of a table or a right shows in a review; `types --check` compares it with a database made
anew. The bodies of functions are not in it: what they should be stands in the release's own SQL.
"""

import re
from collections.abc import Iterable, Iterator
from importlib.resources import files
from typing import Final

import asyncpg
import msgspec

from care_collective.db.migrate import migrations, rooms

_SQL: Final = files("care_collective") / "sql"
_FUNCTION: Final = re.compile(
    r"^create (?:or replace )?function (\w+\.\w+)\s*\(.*?^as (\$\w*\$)(.*?)\2", flags=re.DOTALL | re.MULTILINE
)


class _Named(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag=str.lower, omit_defaults=True):
    """Something in the catalogue: its name, with schema, and for a part of a relation after the relation's."""

    name: str


class Relation(_Named, frozen=True, kw_only=True):
    """A table, view or composite type; anything else with a row type is unexpected by itself."""

    form: str
    owner: str
    definition: str | None = None
    comment: str | None = None


class Column(_Named, frozen=True, kw_only=True):
    """A column; `required` is not null, `value` its default or what generates it."""

    type: str
    required: bool
    value: str = ""


class Constraint(_Named, frozen=True, kw_only=True):
    """A key, foreign key, check or exclusion, with the index that carries it."""

    definition: str


class Index(_Named, frozen=True, kw_only=True):
    """An index that no constraint carries."""

    definition: str


class Argument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An argument of a function; `mode` as pg_proc has it, None for an input; `value` the default."""

    name: str
    type: str
    mode: str | None = None
    value: str | None = None


class Function(_Named, frozen=True, kw_only=True):
    """A function by its name and argument types. `callers`: who may execute it beside the owner."""

    arguments: list[Argument]
    result: str | None
    language: str
    owner: str
    security: str
    volatility: str
    parallel: str
    strict: bool
    leakproof: bool
    settings: dict[str, str]
    callers: list[str]
    body: str | None = None
    comment: str | None = None

    @property
    def plain_name(self) -> str:
        """The name with the schema and without the arguments."""
        return self.name.partition("(")[0]


Thing = Relation | Column | Constraint | Index | Function
_line: Final = msgspec.json.Decoder(Thing)


async def read(connection: asyncpg.Connection, names: Iterable[str] = ()) -> list[Thing]:
    """What a database holds, in one order everywhere. Changes nothing.

    Ours is what stands in schema care, what belongs to care_owner, and whatever in schema public has one of `names`
    (schema.name). The connection's search path has to be `pg_catalog, pg_temp`.
    """
    rows = await connection.fetch((_SQL / "catalogue.sql").read_text("utf-8"), list(names))
    return [_line.decode(row["thing"]) for row in rows]


def write(things: Iterable[Thing]) -> str:
    """The text of catalogue.jsonl."""
    kept = (msgspec.structs.replace(t, body=None) if isinstance(t, Function) else t for t in things)
    return "".join(f"{msgspec.json.encode(thing, order='deterministic').decode()}\n" for thing in kept)


def committed() -> str:
    """The text of this release's catalogue.jsonl."""
    return (_SQL / "catalogue.jsonl").read_text("utf-8")


def declared() -> list[Thing]:
    """What the committed catalogue names, functions without their bodies."""
    return [_line.decode(line) for line in committed().splitlines()]


def expected() -> list[Thing]:
    """What this release expects of a database, bodies included."""
    texts = _bodies()
    return [
        msgspec.structs.replace(thing, body=texts[thing.plain_name]) if isinstance(thing, Function) else thing
        for thing in declared()
    ]


def offered(things: Iterable[Thing]) -> Iterator[Function]:
    """The functions that are offered to clients: those in schema public that a signed-in person may execute."""
    for thing in things:
        if isinstance(thing, Function) and thing.name.startswith("public.") and "authenticated" in thing.callers:
            yield thing


def _bodies() -> dict[str, str]:
    """The body of every function that this release's SQL makes; the last text of a name is in force."""
    texts = [*(migration.text for migration in migrations()), *rooms().values()]
    return {name: body for text in texts for name, _, body in _FUNCTION.findall(text)}
