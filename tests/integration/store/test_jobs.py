"""Jobs: enqueued with the change, claimed by one worker at a time, in the tenant that asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.support.databases import ScratchDatabase

from seawall.core.errors import NotSignedIn
from seawall.core.ids import token_hash
from seawall.core.scope import Principal
from seawall.store.jobs import ClaimLost, Jobs, enqueue
from seawall.store.pool import Pool
from seawall.store.roles import WORKER


@pytest.fixture
async def jobs(scratch: ScratchDatabase) -> AsyncIterator[Jobs]:
    async with scratch.jobs(size=4) as jobs:
        yield jobs


async def _asked(scratch: ScratchDatabase, *kinds: str) -> Principal:
    tenant = await scratch.tenant()
    user = await scratch.person(tenant, "owner")
    principal = await scratch.database.admit(token_hash(await scratch.session(user, tenant)))
    assert principal is not None
    lease = await scratch.database.begin(principal)
    for kind in kinds:
        await enqueue(lease, kind, {"kind": kind})
    await lease.commit()
    return principal


async def test_a_job_runs_once_in_the_tenant_that_asked(scratch: ScratchDatabase, jobs: Jobs) -> None:
    principal = await _asked(scratch, "mail")
    async with jobs.claimed(["other"]) as nothing:
        assert nothing is None
    async with jobs.claimed(["mail"]) as found:
        assert found is not None
        job, lease = found
        assert (job.payload, job.attempt) == ({"kind": "mail"}, 1)
        row = await lease.fetchrow("SELECT seawall.tenant_id() AS tenant, seawall.user_id() AS person")
        assert (row["tenant"], row["person"]) == (principal.tenant_id, principal.user_id)
    async with jobs.claimed(["mail"]) as again:
        assert again is None


async def test_a_job_dies_with_the_change_that_asked_for_it(scratch: ScratchDatabase, jobs: Jobs) -> None:
    principal = await _asked(scratch)
    lease = await scratch.database.begin(principal)
    await enqueue(lease, "mail", {})
    await lease.rollback()
    async with jobs.claimed(["mail"]) as found:
        assert found is None


async def test_many_workers_take_each_job_once(scratch: ScratchDatabase, jobs: Jobs) -> None:
    await _asked(scratch, *["mail"] * 12)
    taken: list[str] = []

    async def work() -> None:
        while True:
            async with jobs.claimed(["mail"]) as found:
                if found is None:
                    return
                taken.append(str(found[0].id))

    await asyncio.wait_for(asyncio.gather(work(), work()), timeout=20)
    assert len(taken) == len(set(taken)) == 12


async def test_a_failed_job_comes_back_and_a_slow_worker_is_fenced_off(scratch: ScratchDatabase, jobs: Jobs) -> None:
    await _asked(scratch, "mail")
    with pytest.raises(RuntimeError, match="broke"):
        async with jobs.claimed(["mail"], claim_s=1):
            raise RuntimeError("broke")
    async with jobs.claimed(["mail"]) as held:
        assert held is None, "the claim still runs"
    await asyncio.sleep(1.1)

    async def be_slow() -> None:
        async with jobs.claimed(["mail"], claim_s=1) as slow:
            assert slow is not None
            assert slow[0].attempt == 2
            await asyncio.sleep(1.2)
            async with jobs.claimed(["mail"]) as quick:
                assert quick is not None
                assert quick[0].attempt == 3

    with pytest.raises(ClaimLost):
        await be_slow()


async def test_a_worker_cannot_name_a_tenant(scratch: ScratchDatabase) -> None:
    pool = Pool(scratch.url(WORKER), size=1, statement_timeout_ms=5_000)
    from seawall.store.lease import Lease

    with pytest.raises(NotSignedIn):
        await Lease.begin(pool, "somebody")
    await pool.close()
