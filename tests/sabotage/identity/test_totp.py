"""A code that works twice, and guessing without end."""

import pytest

FORGETFUL = """
import seawall.identity.totp as module
real = module.TotpFactors.prove
async def prove(self, tx, user_id, code):
    await tx.execute("UPDATE seawall.totp_factors SET last_step = 0 WHERE user_id = $1", user_id)
    return await real(self, tx, user_id, code)
module.TotpFactors.prove = prove
"""
UNSEALED = """
import seawall.core.master_seal as module
module.Seal.seal = lambda self, plain, owner: plain
module.Seal.open = lambda self, sealed, owner: sealed
"""
PATIENT = """
import seawall.identity.throttle as module
async def take(self, *limits):
    return None
module.Throttle.take = take
"""


async def test_a_code_works_twice(sabotage) -> None:
    await sabotage("identity/totp", python=FORGETFUL, trips={"identity/totp"})


@pytest.mark.prove
async def test_the_secret_in_clear(sabotage) -> None:
    await sabotage("identity/totp", python=UNSEALED, trips={"identity/totp", "privacy/sealed-columns"})


@pytest.mark.prove
async def test_guessing_without_end(sabotage) -> None:
    await sabotage("identity/totp", python=PATIENT, trips={"identity/totp", "identity/enumeration"})
