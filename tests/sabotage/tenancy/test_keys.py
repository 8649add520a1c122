"""tenancy/keys notices ciphertexts that open elsewhere, and keys that outlive their destruction."""

from __future__ import annotations

import pytest

ID = "tenancy/keys"

# Encrypted, but bound to nothing: a value copied to another row or column opens there.
UNBOUND = """
from seawall.core.sealing import Label, TenantKeys

ANYWHERE = Label("any", "where")
seal, opened = TenantKeys.seal, TenantKeys.open
TenantKeys.seal = lambda self, label, identity, plain: seal(self, ANYWHERE, bytes(16), plain)
TenantKeys.open = lambda self, label, identity, envelope: opened(self, ANYWHERE, bytes(16), envelope)
"""

# "A cache with no expiry is faster": what was destroyed stays readable in every running process.
FOR_EVER = """
from seawall.privacy.ring import Ring

Ring.forget = lambda self, tenant_id: None
Ring.revoke = lambda self, tenant_id: None
"""

# One key for everybody, under one name: destroying a tenant's key destroys nothing of its data.
ONE_FOR_ALL = """
import hashlib
from seawall.privacy.ring import Ring

SHARED = hashlib.sha256(b"the app's own secret").digest()
learn = Ring._learn

async def shared(self, keys, context):
    try:
        await learn(self, keys, context)
    except Exception:
        keys.learn({1: SHARED}, 1)
    else:
        keys.learn({int.from_bytes(version, "big"): SHARED for version in keys._data_keys}, keys.current)

Ring._learn = shared
"""

# A value that does not open is shown as empty, so that "the page at least works": nobody hears of it.
SWALLOWED = """
from seawall.core.sealing import SealBroken
from seawall.store.sealed import Door

opened = Door.opened

def quiet(self, keys, identity, envelope):
    try:
        return opened(self, keys, identity, envelope)
    except SealBroken:
        return ""

Door.opened = quiet
"""


@pytest.mark.prove
async def test_values_bound_to_no_cell(sabotage) -> None:
    result = await sabotage(ID, python=UNBOUND, trips={ID})
    assert "ciphertext in its place" in result.why


@pytest.mark.prove
async def test_keys_that_are_kept_for_ever(sabotage) -> None:
    await sabotage(ID, python=FOR_EVER, trips={ID})


@pytest.mark.prove
async def test_one_key_for_all_tenants(sabotage) -> None:
    await sabotage(ID, python=ONE_FOR_ALL, trips={ID})


@pytest.mark.prove
async def test_a_refusal_that_is_swallowed(sabotage) -> None:
    await sabotage(ID, python=SWALLOWED, trips={ID})
