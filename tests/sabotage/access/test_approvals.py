"""Approvals that buy more than was approved, or that people give to themselves."""

import pytest

PROVE = pytest.mark.prove

# The function as it is, but blind to one of its conditions.
BLIND = """
DO $do$ BEGIN
EXECUTE replace(pg_get_functiondef('seawall.consume_request(bytea,text[],boolean)'::regprocedure),
                $a${part}$a$, {by});
END $do$
"""
# Nobody looks any more who answers; the database's own CHECK stands for the case of oneself.
ANYBODY = """
import seawall.access.approval_pages as module
module.may_answer = lambda *_, **__: None
"""
ANY_AMOUNT = """
import hashlib
import seawall.core.stepup as module
module.Intent.seen_digest = property(lambda self: hashlib.sha256(f"{self.action} {self.resource}".encode()).digest())
"""
WHATEVER_WAS_READ = """
import seawall.core.stepup as module
module.Intent.seen_digest = property(lambda self: self.digest)
"""


async def test_whoever_lost_the_role_still_approves(sabotage) -> None:
    part = "m.role = ANY (consume_request.roles) AND m.role = ANY (live.roles)"
    await sabotage("access/approvals", sql=BLIND.format(part=part, by="'true'"), trips={"access/approvals"})


@PROVE
@pytest.mark.parametrize(
    ("part", "by"),
    [
        pytest.param("r.expires_at > clock_timestamp()", "'true'", id="never-expires"),
        pytest.param("SET consumed_at = clock_timestamp()", "'SET consumed_at = NULL'", id="any-number-of-times"),
    ],
)
async def test_the_database_is_blind(sabotage, part: str, by: str) -> None:
    await sabotage("access/approvals", sql=BLIND.format(part=part, by=by), trips={"access/approvals"})


@PROVE
@pytest.mark.parametrize("python", [ANYBODY, ANY_AMOUNT, WHATEVER_WAS_READ], ids=["anybody", "any-amount", "unread"])
async def test_the_code_is_blind(sabotage, python: str) -> None:
    await sabotage("access/approvals", python=python, trips={"access/approvals"})
