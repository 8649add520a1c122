"""Other services know people by pseudonyms of their own; two services cannot join what they know.

Why
    An id that is handed to the payment provider, the mailer and the analytics is one key to all of them: whoever gets
    two of their databases knows a person from both sides. And an id that is out there cannot be taken back.
How it is attacked
    As the app's own role, in the live context of a tenant, people are named to several services: the same service must
    get the same name each time and two services different ones, that hold nothing of the id and follow from nothing.
    Then a service's name is looked up as another service, in another tenant, and without any context; and the table
    behind it is read. One person lets two API clients in: the `sub` of their access tokens is compared.
How to fix
    Hand out `await pseudonym(scope, "payments", person_id)` where you would have handed out the id, and take what comes
    back through `subject_of`. Let `seawall.identity` write the tokens of API clients.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import httpx2

from seawall_check.control import Control
from seawall_check.controls._database import live_context, under
from seawall_check.controls.identity._api import client_of, somebody
from seawall_check.document import ApiClient, Persona
from seawall_check.errors import Unproven
from seawall_check.probes.database import attempt
from seawall_check.probes.oauth import claims_of, granted
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="privacy/tokenized-ids",
    title="Other services know people by pseudonyms of their own, which two of them cannot join",
    refs=("ASVS 14.2.4", "OIDC Core 8.1", "RFC 9068"),
    timeout_s=180,
)

SERVICES = ("judge-payments", "judge-mail", "judge-analytics")
LENGTH_MIN = 22
"""128 bits in base64url."""


@dataclass(frozen=True)
class Scene:
    target: Target
    db: asyncpg.Connection
    context: str

    async def name(self, service: str, subject: str) -> str:
        """What a service gets to know an object by; committed, so that it can be asked for again."""
        setting, sql = self.target.database.context_setting, self.target.database.pseudonym
        async with self.db.transaction():
            await self.db.execute("SELECT set_config($1, $2, true)", setting, self.context)
            try:
                return str(await self.db.fetchval(sql, service, UUID(subject)))
            except asyncpg.UndefinedFunctionError:
                raise Unproven(f"the app's database has no `{sql}`") from None

    async def whom(self, service: str, name: str, context: str | None) -> str:
        """The id behind a name, `nobody`, or the SQLSTATE of the refusal."""
        async with under(self.target, self.db, context):
            state, rows = await attempt(self.db, self.target.database.subject_of, service, name)
        return state or str(rows[0][0] or "nobody")


async def check(target: Target, trial: Trial) -> None:
    one, other = target.two_tenants()
    people = [who for who in target.who(tenant=one.id) if who.user_id][:4]
    stranger = target.who(tenant=other.id)[-1]
    if len(people) < 2:
        raise Unproven("two people of a tenant are needed")
    async with target.db_app() as db, target.db_owner() as owner:
        scene = Scene(target, db, await live_context(target, people[-1]))
        names = await _named(scene, trial, people)
        first = people[0]
        name = names[SERVICES[0], first.user_id]
        elsewhere = await live_context(target, stranger)
        back = await scene.whom(SERVICES[0], name, scene.context)
        trial.allow("the service's own name leads back", back, ok=back == first.user_id, expected=first.user_id)
        for attempted, service, context in (
            ("the same name as another service", SERVICES[1], scene.context),
            (f"the same name in {other.name}", SERVICES[0], elsewhere),
            ("the same name without any tenant", SERVICES[0], None),
        ):
            found = await scene.whom(service, name, context)
            trial.refuse(attempted, found, ok=found in {"nobody", "42501"}, expected="nobody")
        there = await Scene(target, db, elsewhere).name(SERVICES[0], first.user_id)
        trial.expect(f"{other.name} has a name of its own", expected="another name", observed="another name"
                     if there != name else "the same", ok=there != name)  # fmt: skip
        await _table(target, trial, db, owner, name)
    await _tokens(target, trial)


async def _named(scene: Scene, trial: Trial, people: list[Persona]) -> dict[tuple[str, str], str]:
    names = {(service, who.user_id): await scene.name(service, who.user_id) for service in SERVICES for who in people}
    again = {key: await scene.name(*key) for key in names}
    trial.expect(
        "a service gets the same name for a person each time",
        expected=f"{len(names)} names, unchanged",
        observed=f"{sum(again[key] == name for key, name in names.items())} unchanged",
        ok=again == names,
    )
    trial.expect(
        "no two services, and no two people, have a name in common",
        expected=f"{len(names)} different names",
        observed=f"{len(set(names.values()))} different names",
        ok=len(set(names.values())) == len(names),
    )
    told = [name for (service, subject), name in names.items() if _follows(name, service, subject)]
    trial.expect(
        "a name holds nothing of the id, and no plain hash of it",
        expected=f"at least {LENGTH_MIN} characters that follow from nothing",
        observed=f"{len(told)} follow from the id, shortest {min(map(len, names.values()))}",
        ok=not told and min(map(len, names.values())) >= LENGTH_MIN,
    )
    return names


def _follows(name: str, service: str, subject: str) -> bool:
    """Whether anybody who knows the id could have computed the name."""
    raw = UUID(subject).bytes
    plain = {subject, raw.hex(), base64.urlsafe_b64encode(raw).decode().rstrip("="), base64.b32encode(raw).decode()}
    for text in (subject, raw.hex(), f"{service}:{subject}", f"{service}{subject}", f"{subject}:{service}"):
        for algorithm in ("md5", "sha1", "sha256", "sha512"):
            plain.add(hashlib.new(algorithm, text.encode(), usedforsecurity=False).hexdigest()[:20])
    return any(one.rstrip("=").lower() in name.lower() for one in plain)


async def _table(target: Target, trial: Trial, db: asyncpg.Connection, owner: asyncpg.Connection, name: str) -> None:
    """Whoever can read the table of pseudonyms can join them all."""
    from seawall_check.controls._sweep import places_of

    places = await places_of(owner, name.encode())
    trial.allow("the owner finds where names are kept", ", ".join(places) or "nowhere", ok=bool(places), of="table")
    for place in places:
        table = place.rpartition(".")[0]
        state, rows = await attempt(db, f"SELECT * FROM {table}")
        trial.refuse(
            f"the app's role reads {table}", state or f"{len(rows)} rows", ok=state == "42501", expected="42501",
            of="table",
        )  # fmt: skip


async def _tokens(target: Target, trial: Trial) -> None:
    """Tokens travel through gateways and logs: what they call a person is what two clients could join."""
    if target.document.api is None:
        trial.unproven("target.json names no API client, so what tokens call a person cannot be compared")
        return
    async with _with_two_clients(target) as app:
        persona = somebody(app)
        browser = await app.fresh(persona)
        first, second = app.api, app.api.others[0]
        said = [await _sub(app, browser, client) for client in (first, first, second)]
    trial.expect(
        "a client's tokens call a person the same each time",
        expected="the same name",
        observed="the same name" if said[0] == said[1] != "" else "another, or none",
        ok=said[0] == said[1] != "",
    )
    trial.expect(
        "the tokens of two clients call a person differently",
        expected="two names",
        observed="two names" if said[2] not in ("", said[0]) else "the same name, or none",
        ok=said[2] not in ("", said[0]),
    )
    names = ((said[0], first), (said[2], second))
    told = [client.client_id for name, client in names if _follows(name, client.client_id, persona.user_id)]
    trial.expect(
        "what a token calls a person holds nothing of the id, and no plain hash of it",
        expected=f"at least {LENGTH_MIN} characters that follow from nothing",
        observed=f"follows from the id for {', '.join(told) or 'nobody'}; shortest {min(map(len, said))}",
        ok=not told and min(map(len, said)) >= LENGTH_MIN,
    )


@contextlib.asynccontextmanager
async def _with_two_clients(target: Target) -> AsyncIterator[Target]:
    if target.api.others:
        yield target
        return
    clients = {name: {"redirect_uris": [target.api.redirect_uri]} for name in ("judge-one", "judge-two")}
    async with target.variant(env={"SEAWALL_IDENTITY__CLIENTS": json.dumps(clients)}) as app:
        if not app.api.others:
            raise Unproven("no second API client can be declared, so what tokens call a person cannot be compared")
        yield app


async def _sub(target: Target, browser: httpx2.AsyncClient, client: ApiClient) -> str:
    api = await granted(browser, await client_of(target, client=client))
    target.redactor.learn(api.access_token, api.refresh_token)
    return str(claims_of(api.access_token).get("sub", ""))
