"""The session cookie one attribute short, and a `next` that leads elsewhere."""

import pytest

PROVE = pytest.mark.prove
LAX = 'import seawall.identity.cookies as c; c._SESSION = c._SESSION.replace("Strict", "Lax")'
READABLE = 'import seawall.identity.cookies as c; c._SESSION = c._SESSION.replace("HttpOnly; ", "")'
# The sign-in's is sound; the one that a second factor renews it with is not.
RENEWED = """
import sys
import seawall.identity.cookies as module
real = module.set_session
def weaker(response, token):
    if sys._getframe(1).f_code.co_name in ("prove", "confirm", "approve"):
        response.headers.append("set-cookie", f"{module.SESSION_COOKIE}={token}; Path=/; Secure; SameSite=Lax")
    else:
        real(response, token)
module.set_session = weaker
"""
ANYWHERE = "import seawall.identity.sign_in as s; s.own_path = lambda value: value or '/'"


@pytest.mark.parametrize(
    "python",
    [
        pytest.param(LAX, id="lax"),
        pytest.param(READABLE, id="readable", marks=PROVE),
        pytest.param(RENEWED, id="renewed", marks=PROVE),
    ],
)
async def test_a_weaker_cookie(sabotage, python: str) -> None:
    await sabotage("identity/cookies", python=python, trips={"identity/cookies"})


@pytest.mark.prove
async def test_a_next_that_leads_elsewhere(sabotage) -> None:
    await sabotage("identity/cookies", python=ANYWHERE, trips={"identity/cookies", "web/injection"})
