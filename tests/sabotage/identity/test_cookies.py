"""The session cookie one attribute short, and a `next` that leads elsewhere."""

import pytest

PROVE = pytest.mark.prove


@pytest.mark.parametrize(
    "python",
    [
        pytest.param(
            'import seawall.identity.cookies as c; c._SESSION = c._SESSION.replace("Strict", "Lax")', id="lax"
        ),
        pytest.param(
            'import seawall.identity.cookies as c; c._SESSION = c._SESSION.replace("HttpOnly; ", "")',
            id="js",
            marks=PROVE,
        ),
        pytest.param(
            "import seawall.identity.sign_in as s; s.own_path = lambda value: value or '/'", id="next", marks=PROVE
        ),
    ],
)
async def test_a_weaker_cookie(sabotage, python: str) -> None:
    await sabotage("identity/cookies", python=python, trips={"identity/cookies"})
