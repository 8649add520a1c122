"""Which sabotages run each time, and which only in the long proofs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def first_few(names: Iterable[str], count: int) -> list[Any]:
    """Parameters: the first `count` of them run with every `make test`, all of them with `make prove`."""
    return [pytest.param(name, marks=[] if place < count else [pytest.mark.prove]) for place, name in enumerate(names)]
