"""Packages from npm, for tests that speak to other people's programs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def brought(factory: pytest.TempPathFactory, *packages: str) -> Path:
    """A new folder with packages of npm's, by name; skips with the reason where there are none, except in CI."""
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
