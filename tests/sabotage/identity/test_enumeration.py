"""An answer that comes sooner, or differs, for accounts that do not exist."""

import pytest

PROVE = pytest.mark.prove

SOONER = """
import seawall.identity.development.accounts as module
real = module.Passwords.right
async def right(self, stored, password):
    return stored is not None and await real(self, stored, password)
module.Passwords.right = right
"""
TELLING = """
import seawall.identity.development.provider as module
real = module.stored_account
async def telling(tx, email):
    account, stored = await real(tx, email)
    module.DEMO_PASSWORD = "known" if account else "unknown"
    return account, stored
module.stored_account = telling
"""


@pytest.mark.parametrize(
    "python", [pytest.param(SOONER, id="sooner"), pytest.param(TELLING, id="telling", marks=PROVE)]
)
async def test_an_answer_that_differs(sabotage, python: str) -> None:
    await sabotage("identity/enumeration", python=python, trips={"identity/enumeration"})
