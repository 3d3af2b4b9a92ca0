"""Which process this is, for whatever is kept or shown by node. One object a process."""

import os
import socket
from uuid import UUID, uuid4

import msgspec

from care_collective import __version__


class Node(msgspec.Struct, frozen=True):
    """A serving process: an id that no other process ever has, and a name by which an operator finds it."""

    id: UUID
    name: str
    release: str = __version__


def this_node(port: int | None = None) -> Node:
    """A new identity for this process, named by its machine, its port where it listens, and its process id."""
    where = socket.gethostname() if port is None else f"{socket.gethostname()}:{port}"
    return Node(uuid4(), f"{where} ({os.getpid()})")
