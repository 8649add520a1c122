"""Master secrets in the middle of a rotation, and after it."""

from __future__ import annotations

OLD = "k" * 43
"""What `core.master.FixedMaster` is given where tests need one version only."""


class TwoVersions:
    """A master secret whose second version seals.

    Args:
        retired: the first one opens nothing any more.
    """

    def __init__(self, *, retired: bool = False) -> None:
        self._secrets = {2: "n" * 43} if retired else {1: OLD, 2: "n" * 43}

    def current(self) -> tuple[int, str]:
        return 2, self._secrets[2]

    def version(self, number: int) -> str | None:
        return self._secrets.get(number)
