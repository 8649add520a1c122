"""An approval that buys more than was approved."""

import pytest

PROVE = pytest.mark.prove

ANY_AMOUNT = """
import hashlib
import seawall.core.stepup as module
module.Intent.digest = property(lambda self: hashlib.sha256(f"{self.action} {self.resource}".encode()).digest())
"""
# Only what is a number is bound: the reason for which the money goes may be another.
ANY_TEXT = """
import hashlib
import seawall.core.stepup as module
def digest(self):
    numbers = [value for value in self.params.values() if isinstance(value, int)]
    return hashlib.sha256(f"{self.action} {self.resource} {numbers}".encode()).digest()
module.Intent.digest = property(digest)
"""
OLD_TOKEN = """
import seawall.identity.stepup as module
real = module.renew_token
NAMES = ("user_id, tenant_id, aal, amr, authenticated_at, second_factor_at, epoch, idle_timeout_s, expires_at")
async def renew(tx, session_id, *, method):
    old = await tx.fetchval("SELECT token_hash FROM seawall.sessions WHERE id = $1", session_id)
    token = await real(tx, session_id, method=method)
    sql = f"INSERT INTO seawall.sessions (token_hash, {NAMES}) SELECT $2, {NAMES} FROM seawall.sessions WHERE id = $1"
    await tx.execute(sql, session_id, old)
    return token
module.renew_token = renew
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


@PROVE
async def test_the_reason_is_not_approved(sabotage) -> None:
    await sabotage("identity/step-up", python=ANY_TEXT, trips={"identity/step-up", "access/approvals"})


@PROVE
async def test_the_token_from_before_lives_on(sabotage) -> None:
    await sabotage("identity/step-up", python=OLD_TOKEN, trips={"identity/step-up"})
