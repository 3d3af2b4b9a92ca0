"""Writes the types of tables and functions for other people's programs, in Python and TypeScript, from the catalogue.

They are made anew from a database that is migrated for the purpose, and equal from every version of PostgreSQL. Only
schema public is declared: what stands in schema care is nobody else's.
"""

import re
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

import asyncpg

from care_collective.db.embedded import Binaries, running
from care_collective.db.migrate import migrate
from care_collective.errors import SettingsError
from care_collective.operations.catalogue import Argument, Column, Constraint, Relation, Thing, offered, read, write

_PACKAGE: Final = Path(str(files("care_collective")))
_WIDTH: Final = 108
# By PostgreSQL's name: Python's, as a driver or msgspec gives it, and TypeScript's, as it comes in JSON.
_TYPES: Final = {
    "boolean": ("bool", "boolean"),
    "integer": ("int", "number"),
    "bigint": ("int", "number"),
    "double precision": ("float", "number"),
    "text": ("str", "string"),
    "uuid": ("UUID", "string"),
    "timestamp with time zone": ("datetime", "string"),
    "time without time zone": ("time", "string"),
    "jsonb": ("Any", "Json"),
    "void": ("None", "undefined"),
}
_CHOICE: Final = re.compile(r"CHECK \(\((\w+) = ANY \(ARRAY\[(.*)\]\)\)\)")
_PYTHON_HEAD: Final = '''"""Rows of tables and arguments of functions, as msgspec types.

This file is made by `care-collective types --write`. The arguments are for whoever calls the functions:
msgspec.json.encode gives the body for /rest/v1/rpc/{function}, with what is UNSET left out. The rows are for programs
with the owner's rights, as reports are: no client reads a table. msgspec.convert takes a driver's row as a dict,
msgspec.json.decode one in JSON.
"""
# ruff: noqa: E501
# fmt: off

from datetime import datetime, time
from typing import Any, Literal
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType
'''
_TYPESCRIPT_HEAD: Final = """// Tables and functions for supabase-js: createClient<Database>(url, key).
// `care-collective types --write` makes this file.
// Tables describe rows only. They are read and written through the functions; no client has a right on a table.

export type Json = string | number | boolean | null | { [key: string]: Json | undefined } | Json[]
"""


@dataclass(frozen=True, slots=True)
class _Table:
    """A table or view of schema public, with the values that a check allows for a column."""

    name: str
    comment: str
    columns: tuple[Column, ...]
    choices: dict[str, list[str]]


async def migrated(binaries: Binaries | None = None) -> list[Thing]:
    """The catalogue of a database that is made for the purpose, migrated, and thrown away. Errors: SettingsError."""
    with tempfile.TemporaryDirectory(prefix="care-collective-types-") as folder:
        Path(folder).chmod(0o711)  # as root the server runs as another user, who has to pass  # noqa: ASYNC240
        async with running(Path(folder) / "scratch", binaries=binaries, options={"fsync": "off"}) as server:
            connection = await asyncpg.connect(server.dsn())
            try:
                await migrate(connection)
                await connection.execute("set search_path = pg_catalog, pg_temp")
                return await read(connection)
            finally:
                await connection.close()


def outputs(things: list[Thing]) -> dict[Path, str]:
    """The files that are committed, and what has to stand in each."""
    return {
        _PACKAGE / "sql" / "catalogue.jsonl": write(things),
        _PACKAGE / "schema" / "__init__.py": python(things),
        _PACKAGE / "schema" / "database.ts": typescript(things),
    }


def stale(things: list[Thing]) -> list[Path]:
    """The committed files that hold something else."""
    return [path for path, text in outputs(things).items() if not path.is_file() or path.read_text("utf-8") != text]


def refresh(things: list[Thing]) -> list[Path]:
    """Writes the stale files and answers which. Errors: SettingsError outside a checkout."""
    if not (_PACKAGE.parents[1] / "pyproject.toml").is_file():
        raise SettingsError("Only a checkout's types can be written. Print them with `care-collective types`.")
    changed = stale(things)
    for path in changed:
        path.parent.mkdir(exist_ok=True)
        path.write_text(outputs(things)[path], "utf-8")
    return changed


# --- Python


def python(things: list[Thing]) -> str:
    """The Python module."""
    blocks = [_PYTHON_HEAD]
    for table in _tables(things):
        blocks.append(f"\nclass {_camel(table.name)}Row(Struct, frozen=True, kw_only=True):\n" + _doc(table.comment))
        blocks += [f"    {column}: {kind}\n" for column, kind in _python_columns(table)]
    for function in offered(things):
        name = _camel(_bare(function.name))
        blocks.append(f"\nclass {name}Args(Struct, frozen=True, kw_only=True):\n" + _doc(function.comment or ""))
        blocks += [f"    {argument.name}: {_python_argument(argument)}\n" for argument in function.arguments]
    return "\n".join(_separated("".join(blocks)))


def _separated(text: str) -> Iterator[str]:
    """The lines, two empty ones before each class."""
    for line in text.splitlines():
        if line.startswith("class "):
            yield ""
        yield line
    yield ""


def _python_columns(table: _Table) -> Iterator[tuple[str, str]]:
    for column in table.columns:
        name = _bare(column.name)
        choice = table.choices.get(name)
        kind = f"Literal[{', '.join(map(_quoted, choice))}]" if choice else _named(column.type, 0)
        yield name, kind if column.required else f"{kind} | None"


def _python_argument(argument: Argument) -> str:
    kind = _named(argument.type, 0)
    if argument.value is None:
        return kind
    return f"{kind}{' | UnsetType | None' if _is_null(argument) else ' | UnsetType'} = UNSET"


def _doc(comment: str) -> str:
    if not comment:
        return ""
    first, *rest = textwrap.wrap(comment, _WIDTH)
    return "\n    ".join([f'    """{first}', *rest]) + ('"""\n' if not rest else '\n    """\n') + "\n"


# --- TypeScript


def typescript(things: list[Thing]) -> str:
    """The TypeScript module, in the shape that supabase-js expects and `supabase gen types` writes."""
    lines = ["", "export type Database = {", "  public: {", "    Tables: {"]
    for table in _tables(things):
        lines += [f"      /** {table.comment} */", f"      {table.name}: {{", "        Row: {"]
        lines += [f"          {name}: {kind}" for name, kind in _typescript_columns(table)]
        lines += ["        }", "        Insert: Record<string, never>", "        Update: Record<string, never>"]
        lines += ["        Relationships: []", "      }"]
    lines += ["    }", "    Views: { [_ in never]: never }", "    Functions: {"]
    for function in offered(things):
        lines += [f"      /** {function.comment} */", f"      {_bare(function.name)}: {{"]
        if function.arguments:
            lines += ["        Args: {", *map(_typescript_argument, function.arguments), "        }"]
        else:
            lines += ["        Args: Record<PropertyKey, never>"]
        lines += [f"        Returns: {_named(function.result or 'void', 1)}", "      }"]
    lines += [
        "    }",
        "    Enums: { [_ in never]: never }",
        "    CompositeTypes: { [_ in never]: never }",
        "  }",
        "}",
        "",
    ]
    return _TYPESCRIPT_HEAD + "\n".join(lines)


def _typescript_columns(table: _Table) -> Iterator[tuple[str, str]]:
    for column in table.columns:
        name = _bare(column.name)
        choice = table.choices.get(name)
        kind = " | ".join(map(_quoted, choice)) if choice else _named(column.type, 1)
        yield name, kind if column.required else f"{kind} | null"


def _typescript_argument(argument: Argument) -> str:
    kind = _named(argument.type, 1)
    if argument.value is None:
        return f"          {argument.name}: {kind}"
    return f"          {argument.name}?: {kind}{' | null' if _is_null(argument) else ''}"


# --- What both read from the catalogue


def _tables(things: list[Thing]) -> Iterator[_Table]:
    for relation in things:
        if isinstance(relation, Relation) and relation.name.startswith("public."):
            parts = [thing for thing in things if thing.name.startswith(f"{relation.name}.")]
            found = (_CHOICE.fullmatch(part.definition) for part in parts if isinstance(part, Constraint))
            choices = {match[1]: re.findall(r"'([^']*)'::text", match[2]) for match in found if match is not None}
            columns = tuple(part for part in parts if isinstance(part, Column))
            yield _Table(_bare(relation.name), relation.comment or "", columns, choices)


def _named(kind: str, language: int) -> str:
    if kind.endswith("[]"):
        inner = _named(kind.removesuffix("[]"), language)
        return f"{inner}[]" if language else f"list[{inner}]"
    if kind not in _TYPES:
        raise SettingsError(f"{kind} has no type in Python and TypeScript yet: give it one in declarations.py.")
    return _TYPES[kind][language]


def _is_null(argument: Argument) -> bool:
    return (argument.value or "").startswith("NULL")


def _bare(name: str) -> str:
    return name.partition("(")[0].rpartition(".")[2]


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _quoted(value: str) -> str:
    return f'"{value}"'
