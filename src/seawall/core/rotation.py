"""Rotation as headings may know it: something of theirs that `seawall rotate` can renew while the app runs.

    begin    there is a newer version; new things use it, old things still open
    adopt    everything old is moved under it
    retire   what is older is refused

Each step may be killed and repeated: it looks at what is there and does the rest. `seawall rotate` writes down which
version it began with, so that a repeat goes on instead of beginning another one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Progress = Callable[[str], None]
"""Told one short sentence now and then; numbers and names of things, never values."""


class Rotator(Protocol):
    """Renews one secret, or one family of keys. Wired in `app.py`, run by `seawall rotate` as the operator."""

    @property
    def name(self) -> str:
        """What it is called on the command line: `master`, `database/seawall_app`."""
        ...

    @property
    def what(self) -> str:
        """One line for `seawall rotate --list`: what it protects."""
        ...

    async def newest(self) -> int:
        """The newest version's number; it grows with every rotation. 0 when there is none yet."""
        ...

    async def begin(self, seen: int) -> int:
        """Make a version newer than `seen` unless there is one; gives the newest."""
        ...

    async def adopt(self, version: int, progress: Progress) -> None:
        """Move everything under `version`. Returns only when nothing needs an older one."""
        ...

    async def retire(self, version: int) -> None:
        """Refuse everything older than `version`, for good."""
        ...
