"""The keys that an embedded start makes and keeps."""

import errno
import fcntl
import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from care_collective.errors import SettingsError
from care_collective.secrets_file import keep_secrets
from care_collective.settings import Settings, load

HOME = {"HOME": "/home/rosa"}
KEY = "k" * 32
MARK = "hunter2"  # stands in every secret below, and must stand in no text
DATABASE = f"postgresql://care:{MARK}@db/care"


def _load(**environ: str) -> Settings:
    return load(HOME | environ)


def _counting() -> Callable[[int], str]:
    numbers = iter(range(1_000))
    return lambda size: f"{next(numbers):064d}"


def _keys(settings: Settings) -> tuple[str | None, ...]:
    return (settings.secret_key, settings.vault_key, settings.jwt_secret)


def test_the_first_embedded_start_makes_keys_and_later_ones_read_them(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "care"
    first = keep_secrets(load(HOME), folder)
    before = (folder / "secrets.env").stat()
    assert len(set(_keys(first))) == 3
    assert all(key and len(key) >= 32 for key in _keys(first))
    assert _keys(keep_secrets(load(HOME), folder)) == _keys(first)
    assert keep_secrets(first, folder) == first
    after = (folder / "secrets.env").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert MARK not in repr(first)
    assert str(first.secret_key) not in repr(first)


def test_the_kept_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        keep_secrets(load(HOME), tmp_path)
    finally:
        os.umask(old)
    path = tmp_path / "secrets.env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    keep_secrets(load(HOME), tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_environment_beats_the_file(tmp_path: Path) -> None:
    kept = keep_secrets(load(HOME), tmp_path)
    settings = keep_secrets(_load(CARE_SECRET_KEY=KEY), tmp_path)
    assert _keys(settings) == (KEY, kept.vault_key, kept.jwt_secret)
    assert _keys(keep_secrets(load(HOME), tmp_path)) == _keys(kept)


def test_keys_that_the_environment_gives_are_not_written(tmp_path: Path) -> None:
    keep_secrets(_load(CARE_SECRET_KEY=MARK * 5), tmp_path)
    assert MARK not in (tmp_path / "secrets.env").read_text()
    all_given = _load(CARE_SECRET_KEY=KEY, CARE_VAULT_KEY=KEY, CARE_JWT_SECRET=KEY)
    assert keep_secrets(all_given, tmp_path / "nowhere") == all_given
    assert not (tmp_path / "nowhere").exists()


def test_no_token_secret_is_added_to_public_keys(tmp_path: Path) -> None:
    outside = _load(CARE_JWKS_URL="https://auth.example.org/k")
    assert keep_secrets(outside, tmp_path).jwt_secret is None
    first = keep_secrets(load(HOME), tmp_path)  # the key that is missing by now is added, the others stay
    assert first.jwt_secret is not None
    assert keep_secrets(outside, tmp_path) == msgspec.structs.replace(first, jwt_secret=None, jwks_url=outside.jwks_url)


def test_an_outside_database_gets_no_keys(tmp_path: Path) -> None:
    settings = _load(DATABASE_URL=DATABASE)
    assert keep_secrets(settings, tmp_path) == settings
    assert list(tmp_path.iterdir()) == []


def test_what_else_stands_in_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "secrets.env"
    path.write_text(f"# by hand\n\nCARE_LATER_KEY=abc=d\n CARE_VAULT_KEY = {KEY} \n".replace(" = ", "="))
    assert keep_secrets(load(HOME), tmp_path, token=_counting()).vault_key == KEY
    assert path.read_text().startswith(f"# by hand\n\nCARE_LATER_KEY=abc=d\n CARE_VAULT_KEY={KEY} \nCARE_SECRET_KEY=0")


def test_a_last_line_without_an_end_is_not_run_into_the_next(tmp_path: Path) -> None:
    (tmp_path / "secrets.env").write_text(f"CARE_VAULT_KEY={KEY}")
    settings = keep_secrets(load(HOME), tmp_path)
    assert settings.vault_key == KEY
    assert keep_secrets(load(HOME), tmp_path) == settings


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (f"CARE_VAULT_KEY={MARK}\n", "CARE_VAULT_KEY: must be at least 32 bytes"),
        ("CARE_VAULT_KEY=\n", "CARE_VAULT_KEY: must be at least 32 bytes"),
        (f"\n{MARK}\n", "line 2: must be NAME=value"),
        (f"CARE_VAULT_KEY={KEY}\nCARE_VAULT_KEY={KEY}\n", "line 2: must be NAME=value, each name once"),
    ],
)
def test_a_damaged_file_stops_the_start_and_is_left_alone(tmp_path: Path, content: str, rule: str) -> None:
    path = tmp_path / "secrets.env"
    path.write_text(content)
    with pytest.raises(SettingsError) as refused:
        keep_secrets(load(HOME), tmp_path)
    assert str(refused.value).startswith(f"{path}: {rule}")
    assert MARK not in str(refused.value)
    assert path.read_text() == content


def test_a_file_that_is_not_text_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "secrets.env").write_bytes(b"CARE_VAULT_KEY=\xff\xfe")
    with pytest.raises(SettingsError, match="not UTF-8 text"):
        keep_secrets(load(HOME), tmp_path)


def test_a_folder_that_cannot_be_made_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="must be able to read and write it"):
        keep_secrets(load(HOME), tmp_path / "file" / "state")


def test_a_full_disk_leaves_no_half_file_and_the_next_start_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(SettingsError, match="No space left"):
            keep_secrets(load(HOME), tmp_path)
    assert not (tmp_path / "secrets.env").exists()
    assert keep_secrets(load(HOME), tmp_path).secret_key is not None


def test_the_keys_are_on_the_disk_before_they_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def noted_replace(self: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    keep_secrets(load(HOME), tmp_path)
    assert steps == ["file", "rename", "folder"]


def test_a_second_start_waits_for_the_first_and_takes_its_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first_is_making, second_is_at_the_lock = threading.Event(), threading.Event()
    flock = fcntl.flock

    def noted_flock(lock: int, operation: int) -> None:
        if first_is_making.is_set():
            second_is_at_the_lock.set()
        flock(lock, operation)

    def slow(size: int) -> str:
        first_is_making.set()
        assert second_is_at_the_lock.wait(10)
        return "1" * 64

    monkeypatch.setattr(fcntl, "flock", noted_flock)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(keep_secrets, load(HOME), tmp_path, token=slow)
        assert first_is_making.wait(10)
        second = pool.submit(keep_secrets, load(HOME), tmp_path, token=lambda size: "2" * 64)
        assert _keys(first.result()) == _keys(second.result()) == ("1" * 64,) * 3


def test_many_starts_at_once_agree(tmp_path: Path) -> None:
    for number in range(20):
        folder, gate = tmp_path / str(number), threading.Barrier(8)

        def start(folder: Path = folder, gate: threading.Barrier = gate) -> tuple[str | None, ...]:
            gate.wait(10)
            return _keys(keep_secrets(load(HOME), folder))

        with ThreadPoolExecutor(8) as pool:
            found = {future.result() for future in [pool.submit(start) for _ in range(8)]}
        assert len(found) == 1
