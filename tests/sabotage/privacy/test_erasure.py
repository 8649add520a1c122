"""An erasure that forgets a table, and one that forgets the account."""

import pytest

FORGETS_ROWS = """
import seawall.privacy.pages as module
async def nothing(lease, person, holdings):
    return 0
module.erase_in = nothing
"""
FORGETS_THE_STEP_UP = """
import seawall.identity.stepup as module
async def always(self, transaction, intent):
    return "approved"
module.DatabaseStepUps.consume = always
"""


async def test_rows_that_are_forgotten(sabotage) -> None:
    await sabotage("privacy/erasure", python=FORGETS_ROWS, trips={"privacy/erasure"})


@pytest.mark.prove
async def test_erased_by_whoever_has_the_session(sabotage) -> None:
    trips = {"privacy/erasure", "identity/step-up", "identity/privileged-mfa", "access/approvals"}
    await sabotage("privacy/erasure", python=FORGETS_THE_STEP_UP, trips=trips)
