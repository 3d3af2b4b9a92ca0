"""A private PostgreSQL of our own, for machines that name no server in DATABASE_URL.

`place` decides who runs it and where its files lie, `binaries` finds the programs, `cluster` makes the data folder,
`server` starts and stops.
"""

from care_collective.db.embedded.binaries import Binaries, find_binaries
from care_collective.db.embedded.server import Server, running

__all__ = ["Binaries", "Server", "find_binaries", "running"]
