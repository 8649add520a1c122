"""web/csrf, broken on purpose."""

from __future__ import annotations

import pytest


async def test_no_proof_of_origin(sabotage) -> None:
    python = "from seawall.web import csrf\ncsrf.prove = lambda method, headers, own_origin: None"
    await sabotage("web/csrf", python=python, trips={"web/csrf"})


@pytest.mark.prove
@pytest.mark.parametrize(
    "careless",
    [
        "if not headers.get(b'origin', own).startswith(own): raise csrf.refusal()",
        "if headers.get(b'origin', own) not in (own, b'null'): raise csrf.refusal()",
        "if headers.get(b'sec-fetch-site') == b'cross-site': raise csrf.refusal()",
    ],
    ids=["prefix", "null-allowed", "fetch-metadata-only"],
)
async def test_a_careless_proof(sabotage, careless) -> None:
    python = f"""
from seawall.web import csrf

def careless(method, headers, own):
    if method not in csrf.SAFE_METHODS:
        {careless}

csrf.prove = careless
"""
    await sabotage("web/csrf", python=python, trips={"web/csrf"})
