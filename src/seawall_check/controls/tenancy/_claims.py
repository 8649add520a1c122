"""Tenants named in the claims of an access token that the app's own key might have signed."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Sequence

from seawall_check.controls._requests import first_allowed, row
from seawall_check.controls.identity._api import signed_in
from seawall_check.document import Tenant
from seawall_check.probes.oauth import Key, claims_of, header_of
from seawall_check.target import Target
from seawall_check.trial import Trial

MORE = ("tid", "tenantid", "org_name", "organization", "https://example.com/tenant")
HEARD_AFTER_S = 1.2
"""How soon an app may look for signing keys again that it does not know."""


async def try_claims(
    target: Target, trial: Trial, mine: Tenant, theirs: Tenant, *, foreign: set[str], names: Sequence[str]
) -> None:
    """Read as one tenant's person with a token that names the other in every claim that somebody may think of."""
    if target.document.api is None:
        return  # an app without tokens believes no claim
    if not target.api.plant_key or target.document.database is None:
        trial.unproven("target.json names no api.plant_key, so tokens that name another tenant cannot be tried")
        return
    people = [one for one in target.who(tenant=mine.id) if one.role not in target.sign_in.privileged_roles]
    reads = [one for one in target.operations if one.method == "GET" and not one.path_names and row(target, one)]
    found = [call for one in reads for call in [await first_allowed(target, one, people)] if call is not None]
    if not found:
        return
    call, _ = found[0]
    api, _ = await signed_in(target, call.persona)
    key = await target.once("planted signing key", lambda: _planted(target))
    header = {**header_of(api.access_token), "kid": key.thumbprint}
    own = claims_of(api.access_token)

    def token(**more: str) -> str:
        return key.sign(header, {**more, **own, "jti": str(uuid.uuid4())})

    of = f"claims of {call.persona.name}"
    plain = await api.get(call.operation.path, token=token())
    if not trial.allow(f"{call.name}, with a token of the planted key", plain, of=of):
        return
    wrong = []
    for value in (theirs.id, theirs.slug or theirs.name):
        claims = {name: value for name in dict.fromkeys((*names, *MORE))}
        answer = await api.get(call.operation.path, token=token(**claims))
        again = await api.get(call.operation.path, token=token())
        if answer.status_code in {400, 401, 403}:
            continue
        if any(one in answer.text for one in foreign) or answer.text not in (plain.text, again.text):
            wrong.append(answer)
    trial.refuse(
        f"{call.name}, naming {theirs.name} in the claims of its token",
        wrong[0] if wrong else "the plain answer, or a refusal",
        ok=not wrong,
        expected="the plain answer, or a refusal",
        of=of,
    )


async def _planted(target: Target) -> Key:
    """A signing key of the judge's that the app takes for its own."""
    key = Key.fresh()
    jwk = {**key.jwk, "kid": key.thumbprint, "use": "sig", "alg": "ES256"}
    async with target.db_owner() as db:
        await db.execute(target.api.plant_key, key.thumbprint, json.dumps(jwk))
    await asyncio.sleep(HEARD_AFTER_S)
    return key
