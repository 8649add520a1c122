"""web/headers, broken on purpose."""

from __future__ import annotations

import pytest


async def test_a_nonce_that_repeats(sabotage) -> None:
    await sabotage(
        "web/headers",
        python="""
from seawall.web import wall

made = wall.Wall._passage

def repeated(self, scope, method):
    passage = made(self, scope, method)
    passage.nonce = "AAAAAAAAAAAAAAAAAAAAAAAA"
    return passage

wall.Wall._passage = repeated
""",
        trips={"web/headers"},
    )


@pytest.mark.prove
@pytest.mark.parametrize(
    "weakened",
    [
        'headers._CSP_PARTS = headers.PAGE_POLICY.replace("script-src ", "script-src \'unsafe-inline\' ")'
        ".encode().split(b'{nonce}')",
        "headers._FIXED_PAIRS = tuple(p for p in headers._FIXED_PAIRS if p[0] != b'strict-transport-security')",
        "headers._DATA_CSP = (b'x-nothing', b'')",
        "headers.NO_STORE = b'private, max-age=600'",
        "headers._FIXED_PAIRS += ((b'access-control-allow-origin', b'*'),)",
        "from seawall.web import wall; wall.NONCE_BYTES = 9",
    ],
    ids=["unsafe-inline", "no-hsts", "no-policy-on-data", "cached", "cors-for-all", "short-nonce"],
)
async def test_a_header_that_is_weaker(sabotage, weakened) -> None:
    await sabotage("web/headers", python=f"from seawall.web import headers\n{weakened}", trips={"web/headers"})
