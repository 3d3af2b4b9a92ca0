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
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NoReturn

_LONGEST = 65_536  # bytes of an order


class Command:
    """A command that was begun, to be used as subprocess.Popen is."""

    def __init__(self, arguments: tuple[str, ...], environ: dict[str, str]) -> None:
        order = json.dumps([arguments, environ, str(Path.cwd())]).encode()
        assert len(order) < _LONGEST
        self._told, tells = socket.socketpair(type=socket.SOCK_SEQPACKET)
        (out, prints), (err, complains) = os.pipe(), os.pipe()
        socket.send_fds(_keeper(environ["PYTHONPATH"]), [order], [tells.fileno(), prints, complains])
        tells.close()
        os.close(prints)
        os.close(complains)
        self.stdout, self.stderr = os.fdopen(out), os.fdopen(err)
        self.pid = int(self._told.recv(16))
        self.returncode: int | None = None
        self._said: tuple[str, str] | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end: its code. Errors: TimeoutError."""
        if self.returncode is None:
            self._told.settimeout(timeout)
            self.returncode = int(self._told.recv(16))
        return self.returncode

    def poll(self) -> int | None:
        """Its code, if it has ended."""
        with suppress(BlockingIOError):
            self.wait(0)
        return self.returncode

    def terminate(self) -> None:
        """Asks it to end, if it has not."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it, if it has not."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def communicate(self, timeout: float) -> tuple[str, str]:
        """What it still said, at its end."""
        if self._said is not None:
            return self._said
        complained: list[str] = []
        reading = threading.Thread(target=lambda: complained.extend(self.stderr))
        limit = threading.Timer(timeout, self.kill)
        reading.start()
        limit.start()
        try:
            printed = self.stdout.read()
            reading.join()
            self.wait(timeout)
        finally:
            limit.cancel()
        self.stdout.close()
        self.stderr.close()
        self._told.close()
        self._said = printed, "".join(complained)
        return self._said


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
            with waiting.pop(one) as tells, suppress(ConnectionError):  # a test that failed asks no more
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
        tells = waiting[os.pidfd_open(child)] = socket.socket(fileno=given[0])
        tells.send(str(child).encode())
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
    """Ends as a command does, without taking apart all that was imported.

    Threads are waited for, what was to be done at the end is done, and what was left open is complained of.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    gc.collect()
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    _orders = socket.socket(fileno=os.dup(0))
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
    _import_all()
    if _keep(_orders):
        try:
            runpy.run_module("care_collective", run_name="__main__", alter_sys=True)
        except SystemExit as end:
            if not isinstance(end.code, int):
                raise
            _end(end.code)
