"""Begins commands in forks of a process that has imported all of them: to start Python is most of what one takes.

Each is a process of its own all the same: it has its environment, its arguments and its end to itself.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import IO, NoReturn

_LONGEST = 65_536  # bytes of an order


def run(arguments: tuple[str, ...], environ: dict[str, str], *, seconds: float) -> tuple[int, str, str]:
    """Runs a command to its end: its code, what it printed, and what it complained of."""
    told, tells = socket.socketpair()
    with told, tells, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        order = json.dumps([arguments, environ, str(Path.cwd())]).encode()
        assert len(order) < _LONGEST
        socket.send_fds(_keeper(environ["PYTHONPATH"]), [order], [tells.fileno(), out.fileno(), err.fileno()])
        told.settimeout(seconds)
        return int(told.recv(16)), _read(out), _read(err)


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


@cache
def _keeper(source: str) -> socket.socket:
    """How to give orders to the process that forks, which ends with this one."""
    orders, given = socket.socketpair(type=socket.SOCK_SEQPACKET)
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": source, "PYTHONWARNINGS": "error"}
    with given:
        process = subprocess.Popen(
            [sys.executable, "-P", __file__], stdin=given.fileno(), stdout=subprocess.DEVNULL, env=environ
        )

    def end() -> None:
        orders.close()
        process.wait()

    atexit.register(end)
    return orders


def _keep(orders: socket.socket) -> bool:
    """Forks at every order until there will be no more; in the fork it returns True, to become the command."""
    waiting: dict[int, socket.socket] = {}  # by the child's descriptor
    while True:
        ready, _, _ = select.select([orders.fileno(), *waiting], [], [])
        for one in set(ready) & waiting.keys():
            ended = os.waitid(os.P_PIDFD, one, os.WEXITED)
            assert ended is not None
            with waiting.pop(one) as tells:
                code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
                tells.send(str(code).encode())
            os.close(one)
        if orders.fileno() not in ready:
            continue
        order, given, _, _ = socket.recv_fds(orders, _LONGEST, 3)
        if not order:
            return False
        if (child := os.fork()) == 0:
            orders.close()
            for one, tells in waiting.items():
                os.close(one)
                tells.close()
            _become(order, given)
            return True
        waiting[os.pidfd_open(child)] = socket.socket(fileno=given[0])
        os.close(given[1])
        os.close(given[2])


def _become(order: bytes, given: list[int]) -> None:
    """Takes on what the command is to have."""
    arguments, environ, folder = json.loads(order)
    os.dup2(given[1], 1)
    os.dup2(given[2], 2)
    for one in given:
        os.close(one)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv[1:] = arguments


def _import_all() -> None:
    package = importlib.import_module("care_collective")
    for found in pkgutil.walk_packages(package.__path__, "care_collective."):
        if not found.name.endswith(".__main__"):
            importlib.import_module(found.name)
    gc.freeze()  # or each fork would copy what it only looks through


def _end(code: int) -> NoReturn:
    """Ends as a command does, without taking apart all that was imported; what it left open is complained of."""
    gc.collect()
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    _orders = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _import_all()
    if _keep(_orders):
        try:
            runpy.run_module("care_collective", run_name="__main__", alter_sys=True)
        except SystemExit as end:
            if not isinstance(end.code, int):
                raise
            _end(end.code)
