"""Without one of its checks, sign-in takes an answer that was not meant for it."""

import pytest

PROVE = pytest.mark.prove

ONLY = {"identity/oidc-pkce"}
ALWAYS = "import types; module.hmac = types.SimpleNamespace(compare_digest=lambda *_: True)"
REUSABLE = """
import seawall.identity.sign_in as module
from seawall.core.ids import token_hash
from seawall.identity.transactions import SignInTransaction

async def kept(tx, transaction_id, *purposes):
    row = await tx.fetchrow(
        "SELECT purpose, provider, redirect_uri, next FROM seawall.sign_in_transactions WHERE id_hash = $1",
        token_hash(transaction_id),
    )
    return SignInTransaction(**dict(row)) if row else None

module.use_transaction = kept
"""
NO_ISSUER = """
import seawall.identity.providers as module
from dataclasses import replace
real = module.Metadata.parse.__func__
def quiet(cls, document, issuer, *, production):
    return replace(real(cls, document, issuer, production=production), iss_advertised=False)
module.Metadata.parse = classmethod(quiet)
"""
LOGOUT_REPLAYED = """
import seawall.identity.logout as module
real = module.end_provider_sessions
async def forgetful(tx, token):
    await tx.execute("DELETE FROM seawall.logout_tokens_seen")
    return await real(tx, token)
module.end_provider_sessions = forgetful
"""
LOGOUT_DEAF = """
import seawall.identity.logout as module
async def nothing(tx, token):
    return 0
module.end_provider_sessions = nothing
"""
LOGOUT_BY_NONCE = """
import seawall.identity.logout as module
real = module.verified_claims
module.verified_claims = lambda *a, **more: {k: v for k, v in real(*a, **more).items() if k != "nonce"}
"""
LOOKED_UP_FIRST = """
import asyncio
import seawall.identity.sign_in as module
from seawall.core.ids import token_hash
from seawall.identity.transactions import SignInTransaction

async def slowly(tx, transaction_id, *purposes):
    row = await tx.fetchrow(
        "SELECT purpose, provider, redirect_uri, next, replaces, max_age_s, user_id, assurance"
        " FROM seawall.sign_in_transactions WHERE id_hash = $1 AND expires_at > now()",
        token_hash(transaction_id),
    )
    await asyncio.sleep(0.2)
    await tx.execute("DELETE FROM seawall.sign_in_transactions WHERE id_hash = $1", token_hash(transaction_id))
    return SignInTransaction(**dict(row)) if row else None

module.use_transaction = slowly
"""
# The same for API clients, whose authorization server the app is itself.
CLIENT_PLAIN = """
import types
import seawall.identity.clients.codes as module
real = module.CodeRequest.parse.__func__
def lax(cls, query, **more):
    return real(cls, {"code_challenge": "A" * 43, **query, "code_challenge_method": "S256"}, **more)
module.CodeRequest.parse = classmethod(lax)
module.hmac = types.SimpleNamespace(compare_digest=lambda *_: True)
"""
CLIENT_ANYWHERE = """
import seawall.identity.clients.registry as module
module.Client.may_return_to = lambda self, uri: True
"""
CLIENT_CODE_AGAIN = """
import seawall.identity.clients.codes as module
import seawall.identity.clients.token_route as user
from seawall.core.ids import token_hash
real = module.redeem_code
async def again(tx, code, **more):
    await tx.execute("UPDATE seawall.authorization_codes SET used_at = NULL WHERE code_hash = $1", token_hash(code))
    return await real(tx, code, **more)
module.redeem_code = user.redeem_code = again
"""
PLAIN = """
import seawall.identity.development.codes as module
real = module.AuthorizationRequest.parse.__func__
def lax(cls, query, registered):
    return real(cls, {**query, "code_challenge_method": "S256"}, registered)
module.AuthorizationRequest.parse = classmethod(lax)
"""


@pytest.mark.parametrize(
    "python",
    [
        pytest.param(f"import seawall.identity.sign_in as module; {ALWAYS}", id="state", marks=PROVE),
        pytest.param(f"import seawall.identity.tokens as module; {ALWAYS}", id="nonce"),
        pytest.param(REUSABLE, id="transaction-kept", marks=PROVE),
        pytest.param(NO_ISSUER, id="issuer-may-be-missing", marks=PROVE),
        pytest.param(PLAIN, id="plain-pkce", marks=PROVE),
        pytest.param(LOOKED_UP_FIRST, id="used-a-moment-later", marks=PROVE),
        pytest.param(CLIENT_PLAIN, id="clients-without-pkce", marks=PROVE),
        pytest.param(CLIENT_ANYWHERE, id="clients-return-anywhere", marks=PROVE),
        pytest.param(CLIENT_CODE_AGAIN, id="clients-redeem-again", marks=PROVE),
        pytest.param(LOGOUT_REPLAYED, id="logout-replayed", marks=PROVE),
        pytest.param(LOGOUT_BY_NONCE, id="id-token-logs-out", marks=PROVE),
    ],
)
async def test_without_one_check(sabotage, python: str) -> None:
    await sabotage("identity/oidc-pkce", python=python, trips=ONLY)
