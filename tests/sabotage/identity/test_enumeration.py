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
# The account is found whatever its case, and guesses are counted as they are typed.
AS_TYPED = """
import contextvars
import seawall.identity.development.provider as module
from seawall.identity.desk import Desk
typed = contextvars.ContextVar("typed", default="")
read, limit = module.input_of, Desk.account_limit
async def input_of(request, *names):
    fields = await read(request, *names)
    typed.set(fields.get("email", ""))
    return fields
def account_limit(self, kind, subject):
    return limit(self, kind, typed.get() if kind == module.LOGIN_LIMIT else subject)
module.input_of, Desk.account_limit = input_of, account_limit
"""
# Whoever says that they are a proxy is believed.
FORWARDED = """
from seawall.identity.desk import Desk
real = Desk.network_limit
def network_limit(self, kind, request):
    told = request.headers.get("x-forwarded-for")
    if told:
        request.scope["client"] = (told.split(",")[0].strip(), 0)
    return real(self, kind, request)
Desk.network_limit = network_limit
"""


@pytest.mark.parametrize(
    "python", [pytest.param(SOONER, id="sooner"), pytest.param(TELLING, id="telling", marks=PROVE)]
)
async def test_an_answer_that_differs(sabotage, python: str) -> None:
    await sabotage("identity/enumeration", python=python, trips={"identity/enumeration"})


@PROVE
@pytest.mark.parametrize("python", [AS_TYPED, FORWARDED], ids=["as-typed", "forwarded"])
async def test_a_limit_that_is_walked_around(sabotage, python: str) -> None:
    await sabotage("identity/enumeration", python=python, trips={"identity/enumeration"})
