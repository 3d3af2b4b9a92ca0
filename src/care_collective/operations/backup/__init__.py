"""Backups of a deployment's database, and the proof that they are some (rule 19).

`make` dumps, `verify` restores into a scratch server and compares, `restore` brings one back, `ledger` remembers what
was verified, so that `migrate` can ask for it. docs/decisions/0008 says why a backup is one file.
"""

from care_collective.operations.backup.archive import Archive, Manifest
from care_collective.operations.backup.ledger import demand, note, recent, waive, wanted
from care_collective.operations.backup.make import Made, make
from care_collective.operations.backup.restore import Checked, restore, verify

__all__ = [
    "Archive",
    "Checked",
    "Made",
    "Manifest",
    "demand",
    "make",
    "note",
    "recent",
    "restore",
    "verify",
    "waive",
    "wanted",
]
