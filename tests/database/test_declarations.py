"""The committed catalogue and the types made from it: equal from every PostgreSQL, and fit for what they describe."""

from pathlib import Path

import asyncpg
import msgspec
import pytest

from care_collective import schema
from care_collective.errors import SettingsError
from care_collective.operations import declarations
from care_collective.operations.catalogue import Column, Function, Thing, expected, read
from database.steps import offered, stage
from database.test_deployed import planted
from harness import Care

FILES = ["catalogue.jsonl", "__init__.py", "database.ts"]


async def things_of(connection: asyncpg.Connection) -> list[Thing]:
    """The catalogue as `types` reads it."""
    async with connection.transaction():
        await connection.execute("set local search_path = pg_catalog, pg_temp")
        return await read(connection)


async def test_the_committed_files_are_what_the_migrated_database_gives(shared: Care) -> None:
    connection = await shared.connect()
    things = await things_of(connection)
    assert declarations.stale(things) == [], "run `scripts/serve types --write`"
    await connection.close()


async def test_every_body_of_the_database_stands_in_the_releases_sql(shared: Care) -> None:
    connection = await shared.connect()
    found = {thing.name: thing.body for thing in await things_of(connection) if isinstance(thing, Function)}
    assert {thing.name: thing.body for thing in expected() if isinstance(thing, Function)} == found
    assert len(found) > 60
    await connection.close()


@pytest.mark.parametrize(
    ("change", "files"),
    [
        ("alter table public.profiles add column pronouns text", FILES),
        ("alter table public.help_requests drop constraint help_requests_urgency_check", FILES),
        ("comment on function public.step_back(uuid) is 'Other words.'", FILES),
        ("grant execute on function public.step_back(uuid) to anon", FILES[:1]),
        ("alter table care.users add column nickname text", FILES[:1]),
    ],
)
async def test_a_change_makes_the_files_stale_that_tell_of_it(shared: Care, change: str, files: list[str]) -> None:
    async with planted(shared, change) as connection:
        stale = declarations.stale(await things_of(connection))
    assert [path.name for path in stale] == files


async def test_a_changed_body_alone_makes_nothing_stale(shared: Care) -> None:
    change = (
        "do $do$ begin execute replace(pg_get_functiondef('care.caller()'::regprocedure), 'return null', "
        "'return  null'); end $do$"
    )
    async with planted(shared, change) as connection:
        assert declarations.stale(await things_of(connection)) == []


async def test_a_type_without_a_translation_is_refused_in_words() -> None:
    new = Column(name="public.profiles.home", type="point", required=True)
    with pytest.raises(SettingsError, match=r"point has no type"):
        declarations.python([*expected(), new])


async def test_rows_of_every_table_fit_their_types(shared: Care) -> None:
    here = await stage(await shared.town())
    await here.town.restrict(here.helper, "limited")
    await here.town.block(here.helper, await here.town.member())
    connection = await shared.connect()
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=str, decoder=msgspec.json.decode)
    filled = set()
    for name, row_type in vars(schema).items():
        if name.endswith("Row"):
            table = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name[:-3]).lstrip("_")
            for row in await connection.fetch(f"select * from public.{table} limit 20"):
                assert isinstance(msgspec.convert(dict(row), row_type), row_type)
                text = msgspec.json.encode(dict(row))
                assert isinstance(msgspec.json.decode(text, type=row_type), row_type)
                filled.add(table)
    assert filled >= {"profiles", "help_requests", "conversations_v2", "conversation_members", "user_restrictions"}
    await connection.close()


async def test_arguments_fit_their_functions(shared: Care) -> None:
    for function in await offered(shared, "authenticated"):
        kind = getattr(schema, "".join(part.capitalize() for part in function.name.split("_")) + "Args")
        assert kind.__struct_fields__ == tuple(function.arguments)
    given = schema.CreateHelpRequestArgs(p_title="Groceries on Friday", p_category="groceries-meals")
    assert msgspec.to_builtins(given) == {"p_title": "Groceries on Friday", "p_category": "groceries-meals"}
    here = await stage(await shared.town())
    answer = await here.helper.answer(
        "create_help_request", **{name.removeprefix("p_"): value for name, value in msgspec.to_builtins(given).items()}
    )
    assert answer.data()["success"] is True


async def test_a_checkouts_files_alone_are_written(
    shared: Care, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(declarations, "_PACKAGE", tmp_path / "src" / "care_collective")
    (tmp_path / "src" / "care_collective" / "sql").mkdir(parents=True)
    with pytest.raises(SettingsError, match=r"Only a checkout"):
        declarations.refresh(expected())
    (tmp_path / "pyproject.toml").touch()
    assert [path.name for path in declarations.refresh(expected())] == FILES
    assert declarations.refresh(expected()) == []
