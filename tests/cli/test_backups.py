"""backup, backup verify, restore and migrate as processes: beside serve, elsewhere, and every refusal with its code."""

from pathlib import Path

import pytest

from cli.process import Shell
from harness import free_port


@pytest.fixture(scope="module")
def shell(state_folder: Path) -> Shell:
    """An embedded deployment of this module's."""
    return Shell(state_folder / "backups")


def test_where_there_is_no_database_nothing_is_made(shell: Shell) -> None:
    refused = shell.run("backup")
    assert refused.code == 2
    assert f"There is no database in {shell.state} yet." in refused.err
    assert not shell.state.exists()


def test_a_backup_beside_serve_is_proved_and_restored_elsewhere(shell: Shell, state_folder: Path) -> None:
    with shell.serving("serve", "--port", str(free_port())):
        assert shell.run("community", "add", "linden-row", "--name", "Linden Row").code == 0
        assert shell.run("member", "invite", "rosa@example.org", "--name", "Rosa").code == 0
        made = shell.run("backup", "--json")
        assert made.code == 0
        file = made.json["file"]
        assert Path(file).parent == shell.state / "backups"
        assert made.json["tables"]["public.profiles"]["rows"] in (1, 3)  # with the two of the guard's probe
        assert made.json["size"].endswith(" kB")
        proved = shell.run("backup", "verify", file, "--json")
        assert proved.code == 0
        assert (proved.json["equal"], proved.json["violations"], proved.json["recorded"]) == (True, 0, True)
        refused = shell.run("restore", file)
        assert refused.code == 1
        assert "in use. Stop `serve`" in refused.err

    elsewhere = Shell(state_folder / "restored")
    restored = elsewhere.run("restore", file)
    assert restored.code == 0
    assert "Row counts and checksums are equal: " in restored.out
    assert elsewhere.run("doctor").code == 0
    said = elsewhere.run("backup", "--to", str(state_folder))
    assert said.out.startswith(f"{state_folder}/care-collective-20")
    assert "kB, " in said.out
    assert "Prove it: scripts/serve backup verify /" in said.out
    refused = elsewhere.run("restore", file)
    assert refused.code == 1
    assert "The database is not empty: public.profiles holds rows" in refused.err


def test_what_is_no_backup_is_1_and_one_line(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "usage.dump"
    file.write_text("Usage: pg_dump [OPTION]...\n")
    for arguments in (["backup", "verify", str(file)], ["restore", str(file)]):
        refused = shell.run(*arguments)
        assert refused.code == 1
        assert refused.err.splitlines()[-1].startswith(f"care-collective: {file} is no backup of Care Collective")
        assert refused.out == ""


def test_a_folder_that_is_not_there_is_2(shell: Shell, tmp_path: Path) -> None:
    refused = shell.run("backup", "--to", str(tmp_path / "absent"))
    assert refused.code == 2
    assert "is not there. Make the folder first" in refused.err


def test_restore_into_a_server_that_is_not_there_is_2_and_shows_no_password(shell: Shell) -> None:
    (file,) = (shell.state / "backups").iterdir()
    refused = shell.run("restore", str(file), "--into", "postgresql://care:hunter2@127.0.0.1:1/care")
    assert refused.code == 2
    assert "--into: the server cannot be reached" in refused.err
    assert "hunter2" not in refused.err
    assert shell.run("restore", str(file), "--into", "care").code == 2


@pytest.mark.parametrize("command", [["backup"], ["backup", "verify"], ["restore"]], ids=" ".join)
def test_each_explains_itself(shell: Shell, command: list[str]) -> None:
    shown = shell.run(*command, "--help")
    assert shown.code == 0
    assert f"scripts/serve {' '.join(command)}" in shown.out
