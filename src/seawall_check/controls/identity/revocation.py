"""What is revoked stops working on the next request: a token, a grant, a session, everything of a person.

Why
    A token that can only run out is good for whoever has stolen it until then, and "sign out everywhere" that leaves
    programs signed in is none. A process that remembers who was let in serves the thief a little longer.
How it is attacked
    API clients of one person get tokens. One access token is revoked (RFC 7009), then a refresh token, then everything
    by signing out everywhere, by another process that ends the grant in the database, by a raised epoch and by
    suspending the person and the tenant; after each, the tokens are used on the very next request, and refreshed. A
    confidential client of a variant asks about them (RFC 7662): the answers must agree with what the API does, and a
    stranger, a public client and a client that guesses its secret must learn nothing. Another client tries to revoke
    what is not its own.
How to fix
    Let admission look at the row of the session and at the revoked tokens, in the same round trip; keep no list of who
    is signed in in the process.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

import httpx2

from seawall_check.control import Control
from seawall_check.controls.identity._api import client_of, signed_in, somebody
from seawall_check.document import Persona
from seawall_check.errors import Unproven
from seawall_check.probes.oauth import JSON, Api, claims_of
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="identity/revocation",
    title="A revoked token, grant, session or person is refused on the next request, in every process",
    refs=("ASVS 7.4.1", "ASVS 7.4.2", "ASVS 10.4.9", "RFC 7009", "RFC 7662"),
    timeout_s=300,
    exclusive=True,
)

REFUSED = {401}
NOT_GIVEN = {400, 401}


async def check(target: Target, trial: Trial) -> None:
    persona = somebody(target)
    await _one_token(target, trial, persona)
    await _a_grant(target, trial, persona)
    await _everywhere(target, trial, persona)
    await _in_the_database(target, trial, persona)
    await _introspection(target, trial)


async def _one_token(target: Target, trial: Trial, persona: Persona) -> None:
    api, browser = await signed_in(target, persona)
    me, first = target.sign_in.me, api.access_token
    trial.allow("a token before it is revoked", await api.get(me), of="token")
    await api.refresh()
    trial.allow("revoking it", await api.revoke(first), of="token")
    trial.refuse("it on the next request", await api.get(me, token=first), statuses=REFUSED, of="token")
    other = await api.get(me)
    alive = "200" if other.status_code == 200 else str(other.status_code)
    trial.expect("the next token of the same grant lives on", expected="200", observed=alive, ok=alive == "200")
    stays = (await browser.get(me, headers=JSON)).status_code
    trial.expect("so does the person's browser", expected="200", observed=stays, ok=stays == 200)
    unknown = await api.revoke(secrets.token_urlsafe(32))
    trial.expect(
        "revoking what is none tells nothing (RFC 7009 §2.2)",
        expected="200",
        observed=unknown.status_code,
        ok=unknown.status_code == 200,
    )


async def _a_grant(target: Target, trial: Trial, persona: Persona) -> None:
    api, _ = await signed_in(target, persona)
    beside, _ = await signed_in(target, persona)
    await _alive(target, trial, api, "grant")
    trial.allow("revoking the refresh token", await api.revoke(api.refresh_token), of="grant")
    await _dead(target, trial, api, "its refresh token was revoked", "grant")
    other = (await beside.get(target.sign_in.me)).status_code
    trial.expect("another grant of the person lives on", expected="200", observed=other, ok=other == 200)


async def _everywhere(target: Target, trial: Trial, persona: Persona) -> None:
    if not target.sign_in.sign_out_everywhere:
        raise Unproven("target.json names no address for signing out everywhere")
    api, browser = await signed_in(target, persona)
    await _alive(target, trial, api, "everywhere")
    answer = await browser.post(target.sign_in.sign_out_everywhere, headers=JSON)
    trial.allow("signing out everywhere", answer, of="everywhere")
    await _dead(target, trial, api, "the person signed out everywhere", "everywhere")


async def _in_the_database(target: Target, trial: Trial, persona: Persona) -> None:
    """What another process does is seen only there: a process that remembers would not notice."""
    person, tenant = persona.user_id, persona.tenant
    changes = {
        "another process revoked the grant": (
            "UPDATE seawall.sessions SET revoked_at = now(), revoke_reason = 'judge' WHERE id = $1::uuid",
            None,
            "",
        ),
        "another process raised the person's epoch": (
            "UPDATE seawall.users SET epoch = epoch + 1 WHERE id = $1::uuid",
            None,
            person,
        ),
        "the person was disabled": (
            "UPDATE seawall.users SET disabled_at = now() WHERE id = $1::uuid",
            "UPDATE seawall.users SET disabled_at = NULL WHERE id = $1::uuid",
            person,
        ),
        "the tenant was suspended": (
            "UPDATE seawall.tenants SET suspended_at = now() WHERE id = $1::uuid",
            "UPDATE seawall.tenants SET suspended_at = NULL WHERE id = $1::uuid",
            tenant,
        ),
    }
    for number, (name, (change, back, whose)) in enumerate(changes.items()):
        api, _ = await signed_in(target, persona)
        await _alive(target, trial, api, f"process {number}")
        subject = whose or claims_of(api.access_token)["sid"]  # the grant
        async with target.db_owner() as db:
            await db.execute(change, subject)
            try:
                await _dead(target, trial, api, name, f"process {number}")
            finally:
                if back is not None:
                    await db.execute(back, subject)


async def _alive(target: Target, trial: Trial, api: Api, of: str) -> None:
    trial.allow("its token before", await api.get(target.sign_in.me), of=of)
    trial.allow("refreshing before", await api.refresh(), of=of)
    trial.allow("the new token", await api.get(target.sign_in.me), of=of)


async def _dead(target: Target, trial: Trial, api: Api, when: str, of: str) -> None:
    used = await api.get(target.sign_in.me)
    trial.refuse(f"a token after {when}", used, statuses=REFUSED, of=of)
    trial.refuse(f"refreshing after {when}", await api.refresh(keep=False), statuses=NOT_GIVEN, of=of)


async def _introspection(target: Target, trial: Trial) -> None:
    """In a variant with a client that has a secret: whoever has none may not ask."""
    secret = secrets.token_urlsafe(32)
    target.redactor.learn(secret)
    clients = {"judge": {"title": "Judge", "redirect_uris": [target.api.redirect_uri], "secret": secret}}
    clients["public"] = {"title": "Public", "redirect_uris": [target.api.redirect_uri]}
    async with target.variant(env={"SEAWALL_IDENTITY__CLIENTS": json.dumps(clients)}) as other:
        api, _ = await signed_in(other, somebody(other))
        if "introspection_endpoint" not in api.metadata:
            raise Unproven("the metadata names no introspection_endpoint")
        for kind, token in (("access", api.access_token), ("refresh", api.refresh_token)):
            told = await api.introspect(token)
            trial.allow(f"asking about a live {kind} token", told, ok=_active(told), of="introspection")
        for name, changes in {
            "no secret": {"secret": ""},
            "another secret": {"secret": secrets.token_urlsafe(32)},
            "the name of a public client": {"secret": "", "client_id": "public"},
        }.items():
            asked = await _as(other, api, changes)
            trial.refuse(
                f"asking with {name}", asked, ok=not _active(asked) and not asked.is_success, of="introspection"
            )
        await _not_its_own(other, trial, api)
        await _agrees(other, trial, api)


async def _not_its_own(target: Target, trial: Trial, api: Api) -> None:
    """RFC 7009 §2.1: a client ends what was issued to itself; otherwise whoever finds a token can sign people out."""
    if not target.api.others:
        trial.unproven("no second API client is there to revoke what is not its own")
        return
    stranger = await client_of(target, client=target.api.others[0])
    for token in (api.access_token, api.refresh_token):
        await stranger.revoke(token)
    used, refreshed = await api.get(target.sign_in.me), await api.refresh()
    trial.expect(
        "tokens that another client tried to revoke live on",
        expected="200 and 200",
        observed=f"{used.status_code} and {refreshed.status_code}",
        ok=used.status_code == refreshed.status_code == 200,
    )


async def _as(target: Target, api: Api, changes: Mapping[str, str]) -> httpx2.Response:
    stranger = await client_of(target, api.key)
    for name, value in changes.items():
        setattr(stranger, name, value)
    return await stranger.introspect(api.access_token)


async def _agrees(target: Target, trial: Trial, api: Api) -> None:
    me, first = target.sign_in.me, api.access_token
    await api.revoke(first)
    admitted, told = await api.get(me, token=first), await api.introspect(first)
    _inactive(trial, "a revoked token", admitted, told)
    await api.refresh()
    await api.revoke(api.refresh_token)
    _inactive(trial, "a token of a revoked grant", await api.get(me), await api.introspect(api.access_token))
    told = await api.introspect(api.refresh_token)
    trial.refuse("asking about a revoked refresh token", told, ok=not _active(told), of="introspection")
    told = await api.introspect("x.y.z")
    trial.refuse("asking about nonsense", told, ok=not _active(told), of="introspection")


def _inactive(trial: Trial, what: str, admitted: httpx2.Response, told: httpx2.Response) -> None:
    trial.expect(
        f"introspection and the API agree about {what}",
        expected="401 and inactive",
        observed=f"{admitted.status_code} and {'active' if _active(told) else 'inactive'}",
        ok=admitted.status_code == 401 and not _active(told),
        artifact=told,
    )


def _active(response: httpx2.Response) -> bool:
    body: Any = response.json() if "json" in response.headers.get("content-type", "") else {}
    return response.status_code == 200 and isinstance(body, dict) and body.get("active") is True
