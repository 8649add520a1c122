"""An owner who acts with a password alone."""

import pytest

# Nothing of the app changes: the database no longer knows which roles are privileged.
FORGET = "DELETE FROM seawall.privileged_roles"
REMEMBER = "INSERT INTO seawall.privileged_roles VALUES ('owner'), ('admin')"
# The code that says so in words is gone. The database still gives no tenant, so nothing is read; nobody is told why.
SPEECHLESS = """
import seawall.core.scope as module
module.Passage.require_actor = module.Passage.require_principal
"""
# No operation of the document: where a person lets an API client act for them, for weeks.
LETS_CLIENTS_IN = """
from typing import Annotated
import seawall.identity.clients.authorize_route as module
from seawall.core.decisions import self_service
from seawall.core.scope import Principal
module.Self = Annotated[Principal, self_service("people let apps act for themselves only", before_second_factor=True)]
"""
TWICE_BLIND = """
import seawall.identity.privileged as module
import seawall.identity as user
async def nothing(tx, roles):
    await tx.execute("DELETE FROM seawall.privileged_roles")
module.set_privileged_roles = user.set_privileged_roles = nothing
"""


async def test_the_database_forgets_the_roles(sabotage) -> None:
    await sabotage("identity/privileged-mfa", sql=FORGET, undo_sql=REMEMBER, trips={"identity/privileged-mfa"})


@pytest.mark.parametrize(
    "python",
    [
        pytest.param(SPEECHLESS, id="speechless", marks=pytest.mark.prove),
        pytest.param(LETS_CLIENTS_IN, id="lets-clients-in", marks=pytest.mark.prove),
        pytest.param(TWICE_BLIND, id="forgotten-at-start", marks=pytest.mark.prove),
    ],
)
async def test_the_app_does_not_ask(sabotage, python: str) -> None:
    await sabotage("identity/privileged-mfa", python=python, trips={"identity/privileged-mfa"})
