"""A token that is taken for more than it is."""

import pytest

ONLY = {"identity/access-tokens"}

TEN_YEARS = """
import seawall.identity.clients.access_token as module
module.LIFETIME_MAX_S = 315_360_000
"""
# Each is one condition of the verifier, gone.
BLIND = {
    "any-typ": """
import seawall.identity.clients.access_token as module
read = module.read_header
module.read_header = lambda token: read(token) | {"typ": module.TYPE}
""",
    "any-audience": """
import seawall.identity.clients.access_token as module
claims_of = module._claims
module._claims = lambda claims, kid, issuer, now_s: claims_of(claims | {"aud": issuer}, kid, issuer, now_s)
""",
    "bearer-everywhere": """
import seawall.identity.clients.credential as module
proved = module.AccessToken._proved
module.AccessToken._proved = lambda self, claims: proved(self, claims) if self.scheme == "dpop" else None
""",
    "any-key-of-a-proof": """
import seawall.identity.clients.credential as module
from dataclasses import replace
verify = module.verify_proof
def lenient(headers, asked, nonces, *, now_s):
    import seawall.identity.clients.access_token as tokens, json
    said = json.loads(module_decode(asked.access_token.split(".")[1]))
    return replace(verify(headers, asked, nonces, now_s=now_s), jkt=said["cnf"]["jkt"])
from seawall.identity.jose import decode_part as module_decode
module.verify_proof = lenient
""",
    "any-time-of-a-proof": "import seawall.identity.clients.dpop as module; module.IAT_WINDOW_S = 86_400",
}
REPLAY = """
CREATE OR REPLACE FUNCTION seawall.use_proof(hash bytea, keep_s integer) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$ SELECT true $$
"""

COMPARED, TAKEN = "g.subject = access_token_is_live.subject", "access_token_is_live.subject IS NOT NULL"
ANYBODYS = """
DO $do$ BEGIN
EXECUTE replace(pg_get_functiondef('seawall.access_token_is_live'::regproc), '{old}', '{new}');
END $do$
"""


async def test_a_lifetime_of_ten_years(sabotage) -> None:
    await sabotage("identity/access-tokens", python=TEN_YEARS, trips=ONLY)


@pytest.mark.prove
@pytest.mark.parametrize("python", BLIND.values(), ids=BLIND.keys())
async def test_a_verifier_that_does_not_look(sabotage, python: str) -> None:
    await sabotage("identity/access-tokens", python=python, trips=ONLY)


@pytest.mark.prove
async def test_proofs_that_work_twice(sabotage) -> None:
    await sabotage("identity/access-tokens", sql=REPLAY, trips={"identity/access-tokens", "identity/refresh-rotation"})


@pytest.mark.prove
async def test_a_token_that_may_name_anybody(sabotage) -> None:
    sql, undo = ANYBODYS.format(old=COMPARED, new=TAKEN), ANYBODYS.format(old=TAKEN, new=COMPARED)
    await sabotage("identity/access-tokens", sql=sql, undo_sql=undo, trips=ONLY)
