"""Timeouts that are not kept, and a token that survives a second sign-in."""

import pytest

PROVE = pytest.mark.prove

WRAP = """
import seawall.identity.sign_in as module
real = module.begin_session
async def other(tx, timeouts, **more):
    {change}
    return await real(tx, timeouts, **more)
module.begin_session = other
"""


@pytest.mark.parametrize(
    "change",
    [
        pytest.param('timeouts = timeouts.model_copy(update={"idle_timeout_s": 86400})', id="idle", marks=PROVE),
        pytest.param(
            'timeouts = timeouts.model_copy(update={"absolute_timeout_s": 86400})', id="absolute", marks=PROVE
        ),
        pytest.param('more["replaces"] = None', id="renewal", marks=PROVE),
    ],
)
async def test_without_a_limit(sabotage, change: str) -> None:
    python = WRAP.replace("{change}", change)
    await sabotage("identity/session-lifetime", python=python, trips={"identity/session-lifetime"})
