"""Jobs: work that outlives its request, in the tenant that asked for it.

A job is enqueued in the business transaction, so it exists exactly if the change does. A tenant's context comes only
with a job that is claimed, and `seawall_dispatcher`, which claims, can do nothing else. The work is done as
`seawall_worker`, which can claim nothing: whatever is injected into a job's SQL stays in the tenant of that job. The
job is finished in the transaction that did its work. A worker that dies leaves its job to the next one when the claim
runs out; the attempt number fences off a worker that was only slow.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from seawall.core.errors import SeawallError
from seawall.core.scope import Transaction
from seawall.store.lease import Lease
from seawall.store.pool import Pool

CLAIM_S = 60


class ClaimLost(SeawallError):
    """The claim ran out and another worker has the job; everything done here was rolled back."""


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed job. `attempt` counts from 1."""

    id: UUID
    kind: str
    payload: Any
    attempt: int


async def enqueue(transaction: Transaction, kind: str, payload: Any) -> UUID:
    """Ask for work, in the caller's tenant and transaction.

    Args:
        transaction: of the request; `await scope.transaction()`.
        kind: what kind of work, such as `receipt.send`.
        payload: JSON; identifiers rather than personal data, at most 64 KiB.
    """
    [row] = await transaction.fetch(
        "SELECT seawall.enqueue($1, $2::text::jsonb) AS id", kind, orjson.dumps(payload).decode()
    )
    job_id: UUID = row["id"]
    return job_id


class Jobs:
    """Claims jobs, and gives each a transaction in its tenant.

    Args:
        dispatcher: signs in as `seawall_dispatcher`. It runs one statement, which is not the job's.
        worker: signs in as `seawall_worker`; its keyring opens what is sealed.
    """

    def __init__(self, *, dispatcher: Pool, worker: Pool) -> None:
        self._dispatcher = dispatcher
        self._worker = worker

    @asynccontextmanager
    async def claimed(self, kinds: Sequence[str], *, claim_s: int = CLAIM_S) -> AsyncIterator[tuple[Job, Lease] | None]:
        """The oldest due job of these kinds with a transaction in its tenant, or None when there is none.

        When the block ends, the job is finished and the transaction committed; when it raises, both are rolled back and
        the job waits for the claim to run out.

        Args:
            claim_s: seconds until another worker may take it, 1 to 600.

        Raises:
            ClaimLost: at the end, when another worker has taken it meanwhile.
        """
        async with self._dispatcher.connection() as connection:
            row = await connection.fetchrow(
                "SELECT id, kind, payload::text, attempt, context FROM seawall.claim($1, $2)", list(kinds), claim_s
            )
        if row is None:
            yield None
            return
        lease = await Lease.begin(self._worker, row["context"])
        try:
            yield Job(row["id"], row["kind"], orjson.loads(row["payload"]), row["attempt"]), lease
            [finished] = await lease.fetch("SELECT seawall.finish($1, $2) AS done", row["id"], row["attempt"])
            if not finished["done"]:
                raise ClaimLost(f"job {row['id']} was taken over")
            await lease.commit()
        finally:
            await lease.rollback()
