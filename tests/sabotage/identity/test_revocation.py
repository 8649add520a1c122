"""A token that outlives its end."""

import pytest

DENYLIST = "NOT EXISTS (SELECT FROM seawall.revoked_tokens r WHERE r.id = token_id)"
OPEN = "(token_id IS NOT NULL)"
# The function as it is, but for one of its conditions.
CHANGED = """
DO $do$ BEGIN
EXECUTE replace(pg_get_functiondef('seawall.access_token_is_live'::regproc), $a${old}$a$, $a${new}$a$);
END $do$
"""

REMEMBERS = """
import seawall.store.database as module
admit_grant, known = module.Database.admit_grant, {}
async def remembering(self, use):
    found = await admit_grant(self, use)
    if found is not None:
        known[use.token_id] = found
    return found or known.get(use.token_id)
module.Database.admit_grant = remembering
"""


def changed(old: str, new: str) -> str:
    return CHANGED.replace("{old}", old).replace("{new}", new)


async def test_a_list_of_revoked_tokens_that_nobody_reads(sabotage) -> None:
    await sabotage(
        "identity/revocation",
        sql=changed(DENYLIST, OPEN),
        undo_sql=changed(OPEN, DENYLIST),
        trips={"identity/revocation"},
    )


@pytest.mark.prove
async def test_a_process_that_remembers_who_was_let_in(sabotage) -> None:
    trips = {"identity/revocation", "identity/refresh-rotation"}
    await sabotage("identity/revocation", python=REMEMBERS, trips=trips)


@pytest.mark.prove
async def test_an_epoch_that_does_not_count(sabotage) -> None:
    """For tokens only: the person's sessions in browsers still end."""
    sql = """
    DO $do$ BEGIN
    EXECUTE replace(pg_get_functiondef('seawall.grant_is_live'::regproc), 'u.epoch = s.epoch', 'true');
    EXECUTE replace(pg_get_functiondef('seawall.access_token_is_live'::regproc), 's.epoch = access_token_is_live.epoch', 'true');
    END $do$
    """  # noqa: E501
    await sabotage("identity/revocation", sql=sql, trips={"identity/revocation"})


@pytest.mark.prove
async def test_a_client_that_ends_what_is_not_its_own(sabotage) -> None:
    python = """
import seawall.identity.clients.revocation_routes as module
module._must_own = lambda client, owner: None
"""
    await sabotage("identity/revocation", python=python, trips={"identity/revocation"})
