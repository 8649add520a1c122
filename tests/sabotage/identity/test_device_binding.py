"""Bound cookies that outlive their minutes, proofs that prove nothing, sessions that a wrong key does not end."""

import pytest

ID = "identity/device-binding"
PROVE = pytest.mark.prove

BIND = """
import seawall.identity.devices.bindings as module
real = module.bind
async def bind(tx, session_id, **more):
    return await real(tx, session_id, **{{**more, {change}}})
module.bind = bind
"""
ANY_KEY = """
import seawall.identity.devices.proof as module
module.Proof.verify = lambda self, algorithm, key: None
"""
ANY_CHALLENGE = """
import seawall.identity.devices.challenges as module
module.hmac = type("hmac", (), {"digest": module.hmac.digest, "compare_digest": staticmethod(lambda one, other: True)})
"""
AGAIN = """
import seawall.identity.devices.bindings as module
real = module.rotate
async def rotate(tx, binding, **more):
    earned = await real(tx, binding, **more)
    await tx.execute("UPDATE seawall.device_bindings SET generation = generation - 1 WHERE name = $1", binding.name)
    return earned
module.rotate = rotate
"""
NOT_ENDED = """
import seawall.identity.devices.bindings as module
async def revoke(tx, binding): pass
module.revoke = revoke
"""
EXCHANGEABLE = """
import seawall.identity.clients.authorize_route as module
module._is_fresh = lambda principal: True
"""
NOT_OFFERED = """
import seawall.identity.devices.instructions as module
module.Offer.make = lambda self, response, session_id: None
"""


@pytest.mark.parametrize(
    "python",
    [
        pytest.param(BIND.format(change='"lifetime_s": 86_400'), id="the-cookie-lives-for-a-day", marks=PROVE),
        pytest.param(BIND.format(change='"grace_s": 60'), id="the-cookie-is-not-demanded", marks=PROVE),
        pytest.param(ANY_KEY, id="any-key", marks=PROVE),
        pytest.param(ANY_CHALLENGE, id="any-challenge", marks=PROVE),
        pytest.param(AGAIN, id="a-proof-works-again", marks=PROVE),
        pytest.param(NOT_ENDED, id="a-wrong-key-ends-nothing", marks=PROVE),
        pytest.param(NOT_OFFERED, id="never-offered", marks=PROVE),
    ],
)
async def test_a_stolen_jar_lives_on(sabotage, python: str) -> None:
    await sabotage(ID, python=python, trips={ID})


@PROVE
async def test_a_stolen_jar_buys_a_grant(sabotage) -> None:
    await sabotage(ID, python=EXCHANGEABLE, trips={ID, "identity/access-tokens"})  # which tries a stale session too
