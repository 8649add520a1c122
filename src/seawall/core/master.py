"""The app's master secret as headings may know it: in versions, so that it can be rotated while the app runs."""

from __future__ import annotations

from typing import Protocol


class MasterSecret(Protocol):
    """Where the versions of the master secret are: keys are derived from it (`core.master_seal`), and nothing else.

    Asking costs nothing: the versions are in memory, kept fresh by who implements this.
    """

    def current(self) -> tuple[int, str]:
        """The version to seal under, and its secret.

        Raises:
            VaultUnavailable: it is not known any more whether this is still the version to use.
        """
        ...

    def version(self, number: int) -> str | None:
        """The secret of a version; None when it has been retired.

        Raises:
            VaultUnavailable: there is no such version yet, as far as this process has seen.
        """
        ...


class FixedMaster:
    """One version that never changes: from the environment, or the key file of development without a vault."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def current(self) -> tuple[int, str]:
        return 1, self._secret

    def version(self, number: int) -> str | None:
        return self._secret if number == 1 else None
