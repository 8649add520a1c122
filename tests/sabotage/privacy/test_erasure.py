"""An erasure that forgets a table, and one that asks for no second factor."""

import pytest

FORGETS_ROWS = """
import seawall.privacy.pages as module
async def nothing(lease, person, holdings):
    return 0
module.erase_in = nothing
"""
FORGETS_THE_STEP_UP = """
import seawall.identity.stepup as module
consume = module.DatabaseStepUps.consume
async def forgiving(self, transaction, intent):
    if intent.action == "erase_person":
        return "approved"
    return await consume(self, transaction, intent)
module.DatabaseStepUps.consume = forgiving
"""


async def test_rows_that_are_forgotten(sabotage) -> None:
    await sabotage("privacy/erasure", python=FORGETS_ROWS, trips={"privacy/erasure"})


@pytest.mark.prove
async def test_erased_by_whoever_has_the_session(sabotage) -> None:
    await sabotage("privacy/erasure", python=FORGETS_THE_STEP_UP, trips={"privacy/erasure"})
