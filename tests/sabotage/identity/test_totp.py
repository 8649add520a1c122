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
RECOVERED_AGAIN = """
import seawall.identity.recovery as module
from seawall.core.ids import token_hash
async def again(tx, user_id, code):
    sql = "SELECT 'recovery' FROM seawall.recovery_codes WHERE user_id = $1 AND code_hash = $2"
    return await tx.fetchval(sql, user_id, token_hash(code))
module.use_code = again
"""
RECOVERED_BY_READERS = """
import seawall.identity.recovery as module
module.token_hash = lambda code: code.encode().ljust(32)
"""
# Each guess at the door has a limit of its own; those of a step-up are still counted together.
OTHER_DOOR = """
import contextvars
import secrets
import seawall.identity.factor_pages as module
from seawall.identity.desk import Desk, Limit
here, limits, code = contextvars.ContextVar("here", default=False), Desk.code_limits, module.FactorRoutes._code
async def unhurried(self, *arguments):
    here.set(True)
    return await code(self, *arguments)
def code_limits(self, user_id, given):
    return [Limit(secrets.token_hex(8), "", 10, 300)] if here.get() else limits(self, user_id, given)
module.FactorRoutes._code, Desk.code_limits = unhurried, code_limits
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
    trips = {"identity/totp", "privacy/sealed-columns", "secrets/rotation"}
    await sabotage("identity/totp", python=UNSEALED, trips=trips)


@pytest.mark.prove
async def test_guessing_without_end(sabotage) -> None:
    await sabotage("identity/totp", python=PATIENT, trips={"identity/totp", "identity/enumeration"})


@pytest.mark.prove
@pytest.mark.parametrize("python", [RECOVERED_AGAIN, RECOVERED_BY_READERS], ids=["used-twice", "stored-in-clear"])
async def test_recovery_codes(sabotage, python: str) -> None:
    await sabotage("identity/totp", python=python, trips={"identity/totp"})


@pytest.mark.prove
async def test_guessing_at_the_other_door(sabotage) -> None:
    await sabotage("identity/totp", python=OTHER_DOOR, trips={"identity/totp"})
