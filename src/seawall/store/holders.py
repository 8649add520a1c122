"""Who still uses an embedded server: the first to come starts it, the last to leave stops it, and so does a kill.

Every holder has a shared `flock` on one file, which the kernel releases however its process ends. Joining and leaving
happen one at a time. Beside the server waits a watcher (`store.watcher`), which stops it when no holder lives any more:
whoever was killed could not, and a parent-death signal would follow one holder only.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import orjson

USERS, START, WATCHER = "users.lock", "start.lock", "watcher.lock"
_WATCHER = Path(__file__).with_name("watcher.py")


class Holders:
    """This process among the holders of one server.

    Args:
        home: the server's folder, where the locks are.
        stop: a function of a module, as `module:function`, that stops the server of the folder that it is given; called
            by the watcher, in a process of its own.
    """

    def __init__(self, home: Path, stop: str) -> None:
        self._home = home
        self._stop = stop
        self._held: IO[bytes] | None = None

    def join(self, start: Callable[[], Any]) -> None:
        """Become a holder. `start` sees to it that the server runs; nobody comes or goes meanwhile."""
        self._held = (self._home / USERS).open("ab")
        try:
            with self._one_at_a_time():
                fcntl.flock(self._held, fcntl.LOCK_SH)
                start()
                self._watch()
        except BaseException:
            self._held.close()
            self._held = None
            raise

    def leave(self, stop: Callable[[], Any]) -> None:
        """Hold no more; the last holder calls `stop` first."""
        if self._held is None:
            return
        with self._one_at_a_time():
            try:
                fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass  # somebody else still uses it
            else:
                stop()
                self._dismiss()
            self._held.close()
            self._held = None

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        with (self._home / START).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _watch(self) -> None:
        """See to it that there is a watcher: when this returns, it watches."""
        with (self._home / WATCHER).open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # it does
        arguments = orjson.dumps({"home": str(self._home), "stop": self._stop, "path": sys.path}).decode()
        subprocess.run(  # noqa: S603 - our own script
            [sys.executable, "-I", "-S", str(_WATCHER), arguments],
            check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip

    def _dismiss(self) -> None:
        """End the watcher of a server that was stopped, and wait for it: the next start wants one of its own."""
        with (self._home / WATCHER).open("r+b") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # so it lives, and the number in the file is its own
                os.kill(int(lock.read()), signal.SIGKILL)
                fcntl.flock(lock, fcntl.LOCK_EX)
