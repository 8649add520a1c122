"""The session cookie one attribute short, and a `next` that leads elsewhere."""

import pytest

PROVE = pytest.mark.prove
LAX = 'import seawall.identity.cookies as c; c._SESSION = c._SESSION.replace("Strict", "Lax")'
READABLE = 'import seawall.identity.cookies as c; c._SESSION = c._SESSION.replace("HttpOnly; ", "")'
ANYWHERE = "import seawall.identity.sign_in as s; s.own_path = lambda value: value or '/'"


@pytest.mark.parametrize("python", [pytest.param(LAX, id="lax"), pytest.param(READABLE, id="readable", marks=PROVE)])
async def test_a_weaker_cookie(sabotage, python: str) -> None:
    await sabotage("identity/cookies", python=python, trips={"identity/cookies"})


@pytest.mark.prove
async def test_a_next_that_leads_elsewhere(sabotage) -> None:
    await sabotage("identity/cookies", python=ANYWHERE, trips={"identity/cookies", "web/injection"})
