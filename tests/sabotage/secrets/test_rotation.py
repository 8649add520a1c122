"""Rotations that leave the old secret good, or lose what was sealed under it."""

import pytest

KEPT = """
import seawall.secrets.rotators as module
async def retire(self, version):
    return None
module.MasterRotator.retire = retire
"""
FORGETFUL = """
import seawall.secrets.rotation as module
async def under_way(self):
    return {}
module.Rotation.under_way = under_way
"""
LOST = """
import seawall.store.resealing as module
async def call(self, version, progress):
    return None
module.Resealer.__call__ = call
"""


@pytest.mark.prove
async def test_the_old_one_stays(sabotage) -> None:
    await sabotage("secrets/rotation", python=KEPT, trips={"secrets/rotation"})


@pytest.mark.prove
@pytest.mark.parametrize("python", [FORGETFUL, LOST], ids=["not-resumed", "not-resealed"])
async def test_it_is_half_done(sabotage, python: str) -> None:
    await sabotage("secrets/rotation", python=python, trips={"secrets/rotation"})


@pytest.mark.prove
async def test_nobody_hears_of_it(sabotage) -> None:
    silent = """
import seawall.secrets.rotation as module
real = module.Rotation.__init__
async def nothing(event):
    return None
def init(self, vault, rotators, record):
    real(self, vault, rotators, nothing)
module.Rotation.__init__ = init
"""
    await sabotage("secrets/rotation", python=silent, trips={"secrets/rotation"})
