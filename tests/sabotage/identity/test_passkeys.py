"""A passkey that nobody had to unlock, that works twice, that is a copy, that approves something else."""

import pytest

PROVE = pytest.mark.prove

NOBODY = "import seawall.identity.ceremony as module; module.USER_VERIFICATION = False"
ANY_ORIGIN = """
import webauthn
def anywhere(verify):
    def verified(*, credential, expected_origin, **rest):
        import base64, json
        said = credential["response"]["clientDataJSON"]
        told = json.loads(base64.urlsafe_b64decode(said + "=" * (-len(said) % 4)))
        return verify(credential=credential, expected_origin=told["origin"], **rest)
    return verified
webauthn.verify_authentication_response = anywhere(webauthn.verify_authentication_response)
webauthn.verify_registration_response = anywhere(webauthn.verify_registration_response)
"""
FRAMED = """
import seawall.identity.ceremony as module
from seawall.identity.tokens import strict_object
module._client_data = lambda response: strict_object(module.decoded(response["clientDataJSON"]))
"""
AGAIN = """
import seawall.identity.passkey_challenges as module
import seawall.identity.passkeys as user
import hashlib
async def take(tx, binding, presented):
    row = await tx.fetchrow("SELECT nonce FROM seawall.passkey_challenges WHERE challenge_hash = $1",
                            hashlib.sha256(presented).digest())
    return None if row is None or binding.challenge(row["nonce"]) != presented else presented
module.take = user.take = take
"""
UNBOUND = """
import seawall.identity.passkey_challenges as module
module.Binding.challenge = lambda self, nonce: nonce
"""
COPIES = """
import seawall.identity.passkeys as module
async def count(self, request, passkey, sign_count):
    return None
module.Passkeys._count = count
"""
ANYBODYS = """
import seawall.identity.passkeys as module
real = module.Passkeys._verified
async def verified(self, request, credential, challenge, *, owner=None):
    return await real(self, request, credential, challenge)
module.Passkeys._verified = verified
"""
OPEN_GATE = """
import seawall.identity.factor_gate as module
async def check(self, tx, principal, intent, back):
    return None
module.FactorGate._check = check
"""


async def test_nobody_was_verified(sabotage) -> None:
    await sabotage("identity/passkeys", python=NOBODY, trips={"identity/passkeys"})


@pytest.mark.parametrize(
    ("python", "trips"),
    [
        pytest.param(ANY_ORIGIN, {"identity/passkeys"}, id="any-origin", marks=PROVE),
        pytest.param(FRAMED, {"identity/passkeys"}, id="framed", marks=PROVE),
        pytest.param(AGAIN, {"identity/passkeys"}, id="a-challenge-twice", marks=PROVE),
        pytest.param(UNBOUND, {"identity/passkeys"}, id="another-action", marks=PROVE),
        pytest.param(COPIES, {"identity/passkeys"}, id="copies", marks=PROVE),
        pytest.param(ANYBODYS, {"identity/passkeys", "identity/privileged-mfa"}, id="anybodys", marks=PROVE),
        pytest.param(OPEN_GATE, {"identity/passkeys", "identity/totp"}, id="no-gate", marks=PROVE),
    ],
)
async def test_a_check_is_missing(sabotage, python: str, trips: set[str]) -> None:
    await sabotage("identity/passkeys", python=python, trips=trips)
