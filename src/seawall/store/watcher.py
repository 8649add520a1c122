"""Stops an embedded server when no process that uses it lives any more. Run as a script, by `store.holders`.

It imports nothing of Seawall until it has something to stop, so that it costs next to nothing while it waits. Whether
somebody holds the server is only ever asked under the lock under which holders come and go; so nobody can join a server
that is being stopped, and a holder that leaves by itself never meets us.

Usage: python -I -S watcher.py '{"home": …, "stop": "module:function", "path": […]}'
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import sys
import time

EVERY_S = 1.0


def main(arguments: str) -> None:
    given = json.loads(arguments)
    home = given["home"]
    # in this order the kernel releases them when we end: whoever starts next must see that nobody watches any more
    watching, starting, users = (_opened(home, name) for name in ("watcher.lock", "start.lock", "users.lock"))
    if not _locked(watching):
        return  # another one watches
    child = os.fork()
    if child:  # who started us waits for this process, and from now on the child watches
        os.ftruncate(watching, 0)
        os.write(watching, str(child).encode())
        os._exit(0)
    os.setsid()
    while not _nobody(starting, users):
        time.sleep(EVERY_S)
    sys.path[:] = given["path"]
    module, _, function = given["stop"].partition(":")
    getattr(importlib.import_module(module), function)(home)
    os._exit(0)  # which gives all locks back


def _nobody(starting: int, users: int) -> bool:
    """Whether no holder lives. If so, both locks are kept: nobody joins until we have ended."""
    fcntl.flock(starting, fcntl.LOCK_EX)
    if _locked(users):
        return True
    fcntl.flock(starting, fcntl.LOCK_UN)
    return False


def _opened(home: str, name: str) -> int:
    return os.open(os.path.join(home, name), os.O_RDWR | os.O_CREAT, 0o600)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1])
