"""What the operators' guide tells to type, typed: all of it on one database, in the order of the page."""

import json
import re
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from care_collective.cli import group
from harness import Postgres

GUIDE = (Path(__file__).parents[2] / "docs" / "operators.md").read_text("utf-8")
LINES = [
    line.removeprefix("scripts/serve ")
    for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    for line in block.splitlines()
]
# Run for themselves: each starts servers of its own.
ELSEWHERE = {"backup verify FILE": "tests/cli/test_backups.py", "rollout rehearse": "tests/bench/test_rehearsal.py"}
# A site that does not run is not ready, and V1 does not retire on its first day.
REFUSED = ("rollout preflight", "legacy retire")


@pytest.fixture
async def deployment(postgres: Postgres, monkeypatch: pytest.MonkeyPatch, state_folder: Path) -> AsyncIterator[None]:
    """A database that the environment names, as it would a deployment's."""
    name = await postgres.create()
    monkeypatch.setenv("DATABASE_URL", postgres.server.dsn(user="care_app", database=name))
    monkeypatch.setenv("DATABASE_OWNER_URL", postgres.server.dsn(database=name))
    monkeypatch.setenv("CARE_DATA_DIR", str(state_folder / "guide"))
    yield
    await postgres.drop(name)


def typed(line: str) -> Result:
    """What a command says and how it ends; whatever it asks is answered with yes."""
    return CliRunner().invoke(group, shlex.split(line), input="y\n")


def test_every_command_of_the_guide_does_what_it_says(deployment: None) -> None:
    people = [
        'community add linden-row --name "Linden Row" --time-zone Europe/Lisbon',
        "member invite olga@example.org --name Olga",
        "member invite rosa@example.org --name Rosa",
    ]
    said: dict[str, str] = {}
    for line in [*people, *LINES]:
        if line in ELSEWHERE:
            continue
        done = typed(line)
        expected = 1 if line.startswith(REFUSED) else 0
        assert done.exit_code == expected, (line, done.output, done.exception)
        said[line] = done.output
        if line.startswith(("rollout kill", "rollout resume")):
            assert ("messaging_v2: stopped" in typed("rollout status").output) == line.startswith("rollout kill")
    assert set(ELSEWHERE) <= set(LINES)
    assert "Before internal:" in said["rollout preflight internal"]
    assert "A backup was verified within 24 hours: no. " in said["rollout preflight internal"]
    assert "Alerts reach somebody: no, which holds nothing back. " in said["rollout preflight internal"]
    killed = next(said[line] for line in LINES if line.startswith("rollout kill"))
    assert "messaging_v2 is stopped: new conversations open in V1" in killed
    assert "Offers fail since 9:40" in said["rollout incident"]
    assert "rollout rehearse --fault raising" in said["rollout incident"]


def test_the_readme_leads_to_the_guide() -> None:
    assert "docs/operators.md" in (Path(__file__).parents[2] / "README.md").read_text("utf-8")


def test_who_was_erased_is_listed_and_can_be_erased_again(deployment: None) -> None:
    typed('community add linden-row --name "Linden Row" --time-zone Europe/Lisbon')
    rosa = json.loads(typed("member invite rosa@example.org --name Rosa --json").output)["user_id"]
    for _ in range(2):
        done = typed(f"member erase {rosa}")
        assert (done.exit_code, done.output.endswith(f"{rosa} is erased.\n")) == (0, True), done.output
    listed = json.loads(typed("member erased --since 2026-01-01 --json").output)["erased"]
    assert [one["user_id"] for one in listed] == [rosa, rosa]
    assert rosa in typed("member erased --since 2026-01-01").output
    assert json.loads(typed("member list --json").output)["members"] == []
    assert typed("doctor").exit_code == 0
    assert typed("member erase 7f1d0c0e-5d3c-4c1e-9a54-1f0f6f0f7a11 --yes").exit_code == 1
