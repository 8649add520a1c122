"""What a person may ask for, asked by letter: an operator gives the copy and does the erasure that `/privacy/me` would.

The database gives the tenant's context with a job that only the owner can order, and everything happens in its one
transaction: the app's rows, the account, the events. So a run that was killed has done nothing, or all.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from seawall import audit
from seawall.core.errors import Refused
from seawall.core.events import Erasure, Event, Grant, SubjectCopy
from seawall.privacy.operating import Operating
from seawall.privacy.subjects import as_document, copy_of, erase_in, personal_map
from seawall.store.lease import Lease

CLAIM_S = 600

_FIND = """
SELECT u.id FROM seawall.users u JOIN seawall.tenant_people p ON p.user_id = u.id
WHERE p.tenant_id = $1 AND (u.email = lower($2) OR u.id::text = lower($2))
"""


@dataclass(frozen=True)
class SubjectRequest:
    """One person's request, in one tenant.

    Args:
        at: the operator's place.
        tenant_id, person: whose data, and where.
        ticket: under which the letter is kept; an identifier, because it goes into the audit log.
    """

    at: Operating
    tenant_id: UUID
    person: UUID
    ticket: str = ""

    @classmethod
    async def of(cls, at: Operating, tenant_id: UUID, who: str, *, ticket: str = "") -> SubjectRequest:
        """The request of whom `who`, an address or an id, names.

        Raises:
            Refused: nobody in this tenant.
        """
        person = await at.owner.fetchval(_FIND, tenant_id, who)
        if person is None:
            raise Refused(
                "nobody in this tenant has that address or id",
                why="nothing was changed; somebody with the same address may belong to another tenant",
                fix="check --tenant and the spelling; people.jsonl of `seawall tenant export` lists everybody's ids",
            )
        return cls(at, tenant_id, person, ticket)

    async def copy(self) -> bytes:
        """Everything about the person, as one JSON document. The event is committed before it is given.

        Raises:
            Refused: another run took the job. VaultUnavailable, KeyDestroyed, SealBroken: a value does not open; a copy
                holds all, or there is none.
        """
        async with self._lease("copy") as lease:
            about = await self._about(lease)
            tables = await copy_of(lease, self.person, personal_map(self.at.models))
            rows = sum(map(len, tables.values()))
            given = SubjectCopy(
                user_id=str(self.person), rows=rows, operator=self.at.who, ticket=self.ticket
            )  # fmt: skip
            await audit.append(lease, [given])
        return as_document(about, tables)

    async def erase(self) -> int:
        """Forget the person, for good; gives how many rows of the app were emptied. The audit log stays as it was.

        Raises:
            Refused: they are the last who hold a role that the tenant cannot be without, or another run took the job.
            VaultUnavailable, KeyDestroyed: what is sealed cannot be emptied without the keys.
        """
        async with self._lease("erase") as lease:
            roles = (await self._about(lease))["roles"]
            rows = await erase_in(lease, self.person, personal_map(self.at.models))
            try:
                [found] = await lease.fetch("SELECT seawall.forget_subject($1) AS gone", self.person)
            except asyncpg.CheckViolationError:
                raise Refused(
                    "this person is the last who holds a role that the tenant cannot be without",
                    why="a tenant that nobody owns can let nobody in any more; nothing was changed",
                    fix="have the role given to somebody else first, or erase the tenant: `seawall tenant erase`",
                ) from None
            events: list[Event] = [
                Grant(
                    user_id=str(self.person), role=one["role"], scope_type=one["scope_type"] or "",
                    scope_id=one["scope_id"] or "", change="revoked",
                )
                for one in roles
            ]  # fmt: skip
            events.append(
                Erasure(
                    user_id=str(self.person), rows=rows, gone=found["gone"], operator=self.at.who, ticket=self.ticket
                )
            )
            await audit.append(lease, events)
        return rows

    async def _about(self, lease: Lease) -> dict[str, Any]:
        [found] = await lease.fetch("SELECT seawall.about_subject($1)::text AS about", self.person)
        about: dict[str, Any] = orjson.loads(found["about"])
        return about

    @asynccontextmanager
    async def _lease(self, work: str) -> AsyncIterator[Lease]:
        """The tenant's transaction, by a job of this request alone; committed when the block ends well."""
        # a kind has 63 characters, so the request is named by a digest; what a killed run left is found by it again
        digest = hashlib.sha256(f"{self.tenant_id}|{self.person}".encode()).hexdigest()[:32]
        kind = f"seawall.tenant-{work}-one.{digest}"
        order = "INSERT INTO seawall.jobs (tenant_id, kind, payload) VALUES ($1, $2, '{}')"
        await self.at.owner.execute(order, self.tenant_id, kind)
        async with self.at.jobs.claimed([kind], claim_s=CLAIM_S) as claimed:
            if claimed is None:
                raise Refused(
                    "another run has taken this request",
                    why="two at once would each do half of it",
                    fix="run it again",
                )
            yield claimed[1]
