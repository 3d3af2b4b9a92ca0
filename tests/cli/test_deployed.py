"""The commands `types` and `doctor --deployed`, as scripts call them."""

import shutil
from pathlib import Path

import asyncpg
import pytest

import care_collective
from care_collective.db.embedded import running
from cli.process import Shell

PACKAGE = Path(care_collective.__file__).parent


@pytest.fixture(scope="module")
def shell(state_folder: Path) -> Shell:
    """An embedded deployment of this module's, empty at first."""
    return Shell(state_folder / "cli-deployed")


def test_types_are_printed_as_they_are_committed(shell: Shell) -> None:
    assert shell.run("types").out == (PACKAGE / "schema" / "__init__.py").read_text()
    assert shell.run("types", "--typescript").out == (PACKAGE / "schema" / "database.ts").read_text()
    names = {thing["name"] for thing in shell.run("types", "--json").json}
    assert {"public.messages_v2", "public.mark_read(uuid, integer)"} <= names
    assert not any(name.startswith("care.") for name in names)
    assert not list(shell.state.glob("*"))  # no database was needed


def test_types_check_and_write(shell: Shell, state_folder: Path) -> None:
    """On a copy of the checkout in which somebody has changed a table."""
    source = state_folder / "checkout" / "src"
    shutil.copytree(PACKAGE, source / "care_collective", ignore=shutil.ignore_patterns("*.pyc.*"))  # half written
    (source.parent / "pyproject.toml").touch()
    table = source / "care_collective" / "sql" / "migrations" / "0002_core.sql"
    table.write_text(
        table.read_text().replace("  display_name text not null,", "  display_name text not null, motto text,")
    )

    copy = {"PYTHONPATH": str(source)}
    stale = shell.run("types", "--check", **copy)
    assert stale.code == 1
    assert stale.out.count("Stale: ") == 3
    assert "types --write" in stale.out
    assert len(shell.run("types", "--write", "--json", **copy).json["written"]) == 3
    assert "motto: str | None" in (source / "care_collective" / "schema" / "__init__.py").read_text()
    fresh = shell.run("types", "--check", "--json", **copy)
    assert (fresh.code, fresh.json) == (0, {"stale": []})
    assert shell.run("types", "--check", "--write").code == 2


async def test_doctor_deployed_says_what_it_found_and_scripts_can_trust_it(shell: Shell) -> None:
    assert shell.run("migrate").code == 0
    sound = shell.run("doctor", "--deployed", "--json")
    assert sound.code == 0
    assert sound.json["findings"] == []
    assert sound.json["calls"] == 27
    assert "As this release has it: " in shell.run("doctor", "--deployed").out

    async with running(shell.state / "postgres") as server:
        connection = await asyncpg.connect(server.dsn(database="care"))
        await connection.execute("drop function care.health(); grant select on public.profiles to authenticated")
        await connection.close()
        found = shell.run("doctor", "--deployed", "--json")  # beside the running server
    assert found.code == 1
    assert [(f["kind"], f["subject"]) for f in found.json["findings"]] == [
        ("missing_function", "care.health()"),
        ("table_grant", "public.profiles"),
    ]
    shown = shell.run("doctor", "--deployed")
    assert shown.code == 1
    assert "table_grant" in shown.out
    assert "authenticated: select" in shown.out
    assert "were not called" in shown.err
