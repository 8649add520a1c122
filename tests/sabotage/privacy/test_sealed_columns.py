"""privacy/sealed-columns notices personal data in plain text, wherever it lies."""

from __future__ import annotations

import pytest

ID = "privacy/sealed-columns"

# Somebody wants to read the values in the database, "only for support": they stand behind their own ciphertext.
BESIDE = """
from seawall.core.sealing import TenantKeys

seal, opened = TenantKeys.seal, TenantKeys.open
TenantKeys.seal = lambda self, label, identity, plain: (
    seal(self, label, identity, plain) + plain + len(plain).to_bytes(2, "big")
)
TenantKeys.open = lambda self, label, identity, envelope: opened(
    self, label, identity, envelope[: len(envelope) - 2 - int.from_bytes(envelope[-2:], "big")]
)
"""

# Requests that wait are "only there for minutes", so somebody spared them the key. No rotation looks at them: no
# version is newer than this.
UNSEALED_REQUESTS = """
import orjson
import seawall.store.sealed_requests as module
module.RequestCell.seal = lambda self, value, owner: b"\\x02\\xff\\xff\\xff\\xff" + orjson.dumps(value)
module.RequestCell.open = lambda self, sealed, owner: orjson.loads(sealed[5:])
"""


async def test_an_address_that_somebody_thought_was_not_personal(sabotage) -> None:
    why = "the delivery app sorts by it"
    result = await sabotage(
        ID,
        edit={
            "models.py": (
                "    address: Mapped[Sealed[str] | None]\n",
                f'    address: Mapped[str | None] = __import__("seawall").not_personal("{why}")\n',
            ),
            "migrations/0001_restaurant.py": ("address bytea check (octet_length(address) <= 1024)", "address text"),
        },
        trips={ID},
    )
    assert "address" in result.why


async def test_what_waits_to_be_confirmed(sabotage) -> None:
    result = await sabotage(ID, python=UNSEALED_REQUESTS, trips={ID})
    assert "which waits" in result.why


@pytest.mark.prove
async def test_values_beside_their_ciphertext(sabotage) -> None:
    await sabotage(ID, python=BESIDE, trips={ID})


@pytest.mark.prove
async def test_values_in_base64_beside_their_ciphertext(sabotage) -> None:
    encoded = "import base64\n" + BESIDE.replace(
        "+ plain + len(plain)", "+ base64.b64encode(plain) + (-(-len(plain) // 3) * 4)"
    )
    await sabotage(ID, python=encoded, trips={ID})


@pytest.mark.prove
async def test_a_blind_index_without_a_key(sabotage) -> None:
    """Whoever has the database can try all telephone numbers there are."""
    python = """
import hashlib
from seawall.core.sealing import BLIND_BYTES, TenantKeys

TenantKeys.blind = lambda self, label, value, *, version=None: hashlib.sha256(value).digest()[:BLIND_BYTES]
"""
    await sabotage(ID, python=python, trips={ID})
