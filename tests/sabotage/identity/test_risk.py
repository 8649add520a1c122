"""Signals that are not noticed, that sign people out, or that move with whoever is watched."""

import pytest

ID = "identity/risk"
PROVE = pytest.mark.prove

NEUTRAL = """
import seawall.identity.risk.assess as module
module.WEIGHT = {{reason: name for reason, name in module.WEIGHT.items() if reason != {reason!r}}}
"""
NO_DOUBT = """
import seawall.identity.risk.watch as module
real = module._told
async def told(tx, principal, found):
    noted = await real(tx, principal, found)
    await tx.execute("UPDATE seawall.sessions SET doubted_at = NULL WHERE id = $1", principal.session_id)
    return noted
module._told = told
"""
SIGNS_OUT = """
import seawall.identity.risk.watch as module
real = module.Watch.over
async def over(self, principal, request):
    watched = await real(self, principal, request)
    if watched is not principal:
        async with self._identity() as tx:
            await tx.execute("UPDATE seawall.sessions SET revoked_at = now() WHERE id = $1", principal.session_id)
    return watched
module.Watch.over = over
"""
DRIFTS = """
import seawall.identity.risk.watch as module
real = module.Watch.over
async def over(self, principal, request):
    watched = await real(self, principal, request)
    place = self.here(request).place
    async with self._identity() as tx:
        await tx.execute("UPDATE seawall.sessions SET country = $2, asn = $3, network = $4 WHERE id = $1",
                         principal.session_id, place.country, place.asn, place.network)
    return watched
module.Watch.over = over
"""
KEEPS_ADDRESSES = """
import seawall.identity.risk.arrivals as module
real = module._write_down
async def write_down(tx, session_id, browser, here, found):
    await real(tx, session_id, browser, here, found)
    await tx.execute("UPDATE seawall.sessions SET revoke_reason = $2 WHERE id = $1", session_id, seen[-1])
module._write_down = write_down
seen = []
real_here = module.Watch.here
def here(self, request):
    seen.append(request.client.host)
    return real_here(self, request)
module.Watch.here = here
"""
UNKNOWN_IS_ALARMING = """
import seawall.identity.risk.assess as module
module.same_machine = lambda one, other: one == other
"""


@pytest.mark.parametrize(
    "python",
    [
        pytest.param(NEUTRAL.format(reason="new-device"), id="new-devices-are-nothing-new"),
        pytest.param(NEUTRAL.format(reason="platform-changed"), id="platforms-may-change", marks=PROVE),
        pytest.param(NEUTRAL.format(reason="failures-account"), id="failures-do-not-count", marks=PROVE),
        pytest.param(NEUTRAL.format(reason="two-networks"), id="one-may-be-in-two-places", marks=PROVE),
        pytest.param(NO_DOUBT, id="trust-is-not-taken-away", marks=PROVE),
        pytest.param(SIGNS_OUT, id="a-signal-signs-out", marks=PROVE),
        pytest.param(DRIFTS, id="the-reference-drifts", marks=PROVE),
        pytest.param(KEEPS_ADDRESSES, id="addresses-are-kept", marks=PROVE),
        pytest.param(UNKNOWN_IS_ALARMING, id="what-is-unknown-alarms", marks=PROVE),
    ],
)
async def test_signals_that_mislead(sabotage, python: str) -> None:
    await sabotage(ID, python=python, trips={ID})
