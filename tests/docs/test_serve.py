"""scripts/serve takes what the environment lacks from .env, as the README says."""

import subprocess
from pathlib import Path

from docs.conftest import newcomer


def looked(checkout: Path, **settings: str) -> str:
    """Where doctor looks for a database, in its own words."""
    done = subprocess.run(
        [checkout / "scripts" / "serve", "doctor"],
        env=newcomer(**settings), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2, done
    return done.stderr


def test_a_setting_in_the_file_is_used_and_the_environment_beats_it(checkout: Path, tmp_path: Path) -> None:
    here, there, file = tmp_path / "from the file", tmp_path / "from the environment", checkout / ".env"
    file.write_text(f"# By hand.\n#CARE_LOG=loud\n\nCARE_LOG=info\nCARE_DATA_DIR={here}")  # the last line unfinished
    try:
        assert f"There is no database in {here} yet." in looked(checkout)
        assert f"There is no database in {there} yet." in looked(checkout, CARE_DATA_DIR=str(there))
        file.write_text("CARE_LOG=loud\n")
        assert "CARE_LOG is 'loud'" in looked(checkout)
    finally:
        file.unlink()


def test_what_the_file_names_that_is_no_setting_is_said_and_not_its_value(checkout: Path, tmp_path: Path) -> None:
    file = checkout / ".env"
    file.write_text(
        f"CARE_DATA_DIR={tmp_path / 'data'}\n\n# a word\nNEXT_PUBLIC_MESSAGING_V2_ENABLED=false\nDATABSE_URL=secret\n"
        "export CARE_PORT=1\ncare_host=::\nsecret alone"
    )
    try:
        said = [line for line in looked(checkout).splitlines() if line.startswith("scripts/serve: .env: ")]
    finally:
        file.unlink()
    named = [line.removeprefix("scripts/serve: .env: ").partition(" is no setting of ours; ")[0] for line in said]
    assert named == ["DATABSE_URL", "export CARE_PORT", "care_host", "a line without ="]
    assert "secret" not in "".join(said)
