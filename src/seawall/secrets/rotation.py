"""`seawall rotate`: one secret or all, without downtime, and again where it was when it was killed.

What is under way is written down in the vault before it begins: for each rotator, the version that was there. A second
run finds that and finishes the same rotation; two at once do the same work twice, which changes nothing. The audit log
is told before the first change and after the last, both while the journal still holds it: killed anywhere, a rotation
is in the log at least once.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from seawall.core.errors import Refused
from seawall.core.events import SecretRotation
from seawall.core.rotation import Rotator
from seawall.secrets.client import VaultClient

JOURNAL = "rotation"
JOURNAL_ATTEMPTS = 10
Record = Callable[[SecretRotation], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Rotated:
    """What was done with one secret."""

    name: str
    before: int
    after: int
    resumed: bool
    seconds: float


class Rotation:
    """Runs rotators, with a journal in the vault.

    Args:
        vault: as the operator.
        rotators: what can be rotated.
        record: commits an event to the audit log. Nothing is rotated that could not be recorded.
    """

    def __init__(self, vault: VaultClient, rotators: Sequence[Rotator], record: Record) -> None:
        self._vault = vault
        self._record = record
        self._rotators = {rotator.name: rotator for rotator in rotators}

    @property
    def rotators(self) -> tuple[Rotator, ...]:
        return tuple(self._rotators.values())

    def named(self, names: Iterable[str]) -> list[Rotator]:
        """The rotators of these names, or of these headings (`database`).

        Raises:
            Refused: nothing is called that.
        """
        chosen: list[Rotator] = []
        for name in names:
            found = [one for key, one in self._rotators.items() if key == name or key.startswith(f"{name}/")]
            if not found:
                raise Refused(
                    f"nothing that can be rotated is called {name!r}",
                    why="a name that is passed over in silence is a secret that stays",
                    fix=f"one of {', '.join(self._rotators)}, or --all",
                )
            chosen += [one for one in found if one not in chosen]
        return chosen

    async def under_way(self) -> dict[str, int]:
        """Rotations that were begun and not finished: name → the version that was there."""
        journal = await self._vault.read(JOURNAL)
        return {name: int(seen) for name, seen in journal.values.items()} if journal is not None else {}

    async def run(self, rotator: Rotator, say: Callable[[str], None]) -> Rotated:
        """Rotate one secret, or finish its rotation."""
        started = time.monotonic()
        seen = (await self.under_way()).get(rotator.name)
        resumed = seen is not None
        if seen is None:
            seen = await rotator.newest()
            await self._note(rotator.name, seen)
        who = await self._vault.identity()
        step: Literal["begun", "resumed"] = "resumed" if resumed else "begun"
        await self._record(SecretRotation(what=rotator.name, step=step, before=seen, operator=who))
        version = await rotator.begin(seen)
        await rotator.adopt(version, say)
        await rotator.retire(version)
        done = SecretRotation(what=rotator.name, step="finished", before=seen, after=version, operator=who)
        await self._record(done)
        await self._note(rotator.name, None)
        return Rotated(rotator.name, seen, version, resumed, time.monotonic() - started)

    async def _note(self, name: str, seen: int | None) -> None:
        for _ in range(JOURNAL_ATTEMPTS):
            journal = await self._vault.read(JOURNAL)
            values = dict(journal.values) if journal is not None else {}
            values.pop(name, None)
            if seen is not None:
                values[name] = str(seen)
            try:
                await self._vault.write(JOURNAL, values, expected=journal.version if journal is not None else 0)
            except ValueError:
                continue  # another `seawall rotate` wrote meanwhile
            return
        raise Refused(
            "the journal of rotations is written by too many at once",
            why="what is under way must be known, or a killed rotation cannot be finished",
            fix="wait until the other `seawall rotate` has ended",
        )
