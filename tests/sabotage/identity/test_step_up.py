"""An approval that buys more than was approved."""

import pytest

PROVE = pytest.mark.prove

ANY_AMOUNT = """
import hashlib
import seawall.core.stepup as module
module.Intent.digest = property(lambda self: hashlib.sha256(f"{self.action} {self.resource}".encode()).digest())
"""
# The function as it is, but blind to one of its conditions.
BLIND = """
DO $do$ BEGIN
EXECUTE replace(pg_get_functiondef('seawall.consume_approval(bytea)'::regprocedure), $a${part}$a$, 'true');
END $do$
"""


async def test_the_amount_is_not_approved(sabotage) -> None:
    await sabotage("identity/step-up", python=ANY_AMOUNT, trips={"identity/step-up"})


@pytest.mark.parametrize(
    "part",
    [
        pytest.param("a.session_id = seawall.session_id()", id="any-session", marks=PROVE),
        pytest.param("a.expires_at > clock_timestamp()", id="never-expires", marks=PROVE),
    ],
)
async def test_the_database_is_blind(sabotage, part: str) -> None:
    await sabotage("identity/step-up", sql=BLIND.replace("{part}", part), trips={"identity/step-up"})
