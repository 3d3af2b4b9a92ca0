"""Packages from npm, for tests that speak to other people's programs."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SUPABASE_JS = "@supabase/supabase-js@2.119.1"
TYPESCRIPT = "typescript@5.9.3"


def brought(factory: pytest.TempPathFactory, *packages: str) -> Path:
    """A new folder with packages of npm's, by name and version; skips with the reason where none come. CI fails."""
    assert all(re.fullmatch(r".+@\d+\.\d+\.\d+", package) for package in packages), "an exact version of each"
    npm = shutil.which("npm")
    if npm is None:
        assert "CI" not in os.environ, "npm is missing, and CI tests with it"
        pytest.skip("npm is not installed here; CI has it")
    folder = factory.mktemp("npm")
    done = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline", *packages],
        cwd=folder, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if done.returncode != 0:
        assert "CI" not in os.environ, done.stderr
        pytest.skip(f"npm brought nothing: {(done.stderr.strip().splitlines() or ['no answer'])[-1]}")
    return folder
