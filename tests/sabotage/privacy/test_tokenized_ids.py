"""One name for all services, and names that follow from the id; in tokens too."""

import pytest

JOINED = """
CREATE OR REPLACE FUNCTION seawall.pseudonym(service text, subject uuid) RETURNS text
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT seawall.pseudonym_in(seawall.tenant_id(), 'everybody', subject)
$$
"""
DERIVED = """
CREATE OR REPLACE FUNCTION seawall.pseudonym(service text, subject uuid) RETURNS text
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT 'p_' || encode(sha256(convert_to(service || ':' || subject::text, 'UTF8')), 'hex')
$$
"""
AS_IT_WAS = """
CREATE OR REPLACE FUNCTION seawall.pseudonym(service text, subject uuid) RETURNS text
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT seawall.pseudonym_in(seawall.tenant_id(), service, subject)
$$
"""

TOKENS = """
import seawall.identity.clients.grants as module
real = module.known_as
async def known_as(tx, tenant_id, client_id, user_id):
    return {name}
module.known_as = known_as
"""


@pytest.mark.parametrize(
    "sql", [pytest.param(JOINED, id="joined"), pytest.param(DERIVED, id="derived", marks=pytest.mark.prove)]
)
async def test_names_that_can_be_joined(sabotage, sql: str) -> None:
    await sabotage("privacy/tokenized-ids", sql=sql, undo_sql=AS_IT_WAS, trips={"privacy/tokenized-ids"})


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("str(user_id)", id="the-id-itself", marks=pytest.mark.prove),
        pytest.param('await real(tx, tenant_id, "everybody", user_id)', id="of-all-clients", marks=pytest.mark.prove),
    ],
)
async def test_tokens_that_can_be_joined(sabotage, name: str) -> None:
    await sabotage("privacy/tokenized-ids", python=TOKENS.format(name=name), trips={"privacy/tokenized-ids"})
