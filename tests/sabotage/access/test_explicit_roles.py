"""Breaking access/explicit-roles: what policies may demand, and what becomes of errors."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.prove
async def test_obligations_that_nobody_carries_out(sabotage: Any) -> None:
    """A misspelt attribute would be no sabotage: the validator, the reach and the SQL of lists each refuse it."""
    await sabotage(
        "access/explicit-roles",
        python="import seawall.access.policies as p; p.check_annotations = lambda *given: None",
        trips={"access/explicit-roles"},
    )


@pytest.mark.prove
async def test_an_engine_that_skips_what_fails_as_cedar_does(sabotage: Any) -> None:
    await sabotage(
        "access/explicit-roles",
        python="""
import seawall.access.engine as e

whole = e.Engine._verdict

def careless(self, ruling, answer):
    answer["diagnostics"]["errors"] = []
    return whole(self, ruling, answer)

e.Engine._verdict = careless
""",
        trips={"access/explicit-roles"},
    )
