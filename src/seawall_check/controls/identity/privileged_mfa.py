"""A privileged role cannot act without a second factor.

Why
    One phished password of an owner is the whole company. Whoever may change roles, money or everybody's data must
    prove a second factor before anything answers, not only before the actions that somebody remembered.
How it is attacked
    A privileged persona of each such role signs in with login and password only. Every operation of the OpenAPI
    document is then called with that session, with right and with nonsensical bodies; so is every page that a proved
    session is shown and nobody else, what the app tells people about themselves, and where people let API clients in.
    The database is asked for a tenant context with its token. Codes are invented and another person's passkey is
    offered. What leads to a factor must answer, a person without such a role must not be held up, and once the factor
    is proved, the same calls must succeed.
How to fix
    Name the roles in `identity.privileged_roles`, and declare every route with `may()`, `may_list()` or
    `self_service()`, which ask `Passage.require_actor`.
"""

from __future__ import annotations

import hashlib

import httpx2

from seawall_check.control import Control
from seawall_check.controls._factor import JSON, forget_factor
from seawall_check.controls._requests import first_allowed, row
from seawall_check.controls.identity._api import client_of
from seawall_check.document import Persona
from seawall_check.errors import Unproven
from seawall_check.probes.http import Operation, pages
from seawall_check.probes.oauth import Asking
from seawall_check.second_factor import enrol, options_from, origin_of, routes_of
from seawall_check.target import Target
from seawall_check.trial import Trial, problem_code

control = Control(
    id="identity/privileged-mfa",
    title="A privileged role cannot act without a passkey or TOTP; until one is proved only the way to it answers",
    refs=("ASVS 6.3.3", "ASVS 6.3.4"),
    timeout_s=240,
    exclusive=True,
)

HTML = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate"}
CODE = "second-factor-required"
PAGES_MAX = 20
GUESSES = ("000000", "123456", "AAAA-BBBB-CCCC-DDDD", "", "٣٣٣٣٣٣")


async def check(target: Target, trial: Trial) -> None:
    roles = target.sign_in.privileged_roles
    people = [persona for persona in target.personas if persona.role in roles]
    if not people:
        raise Unproven(f"no persona holds a privileged role ({', '.join(roles) or 'target.json names none'})")
    persona = people[0]
    client, half = await target.fresh(persona), await target.half_signed_in(persona)
    await _operations(target, trial, persona, half)
    await _database(target, trial, client, half)
    await _pages(target, trial, persona, client, half)
    await _way_in(target, trial, persona, half)
    for role in sorted({one.role for one in people} - {persona.role}):
        another = next(one for one in people if one.role == role)
        proved, unproved = await target.fresh(another), await target.half_signed_in(another)
        await _operations(target, trial, another, unproved)
        await _database(target, trial, proved, unproved)
    await _others(target, trial, people)
    await _proofs(target, trial, persona, half)


async def _operations(target: Target, trial: Trial, persona: Persona, half: httpx2.AsyncClient) -> None:
    """Everything that the proved session may do is refused to the half one, whatever the body."""
    tried = 0
    # reads first: their allows are what the refusals are matched with
    for operation in sorted(_allowed(target, persona), key=lambda one: one.method != "GET"):
        found = await first_allowed(target, operation, [persona]) if operation.method == "GET" else None
        values = _values(operation, persona) if found is None else dict(found[0].values)
        if values is None:
            continue
        tried += 1
        if found is not None:
            trial.allow(f"{persona.name} with a second factor: {operation.name}", found[1], of="operations")
        for body in (row(target, operation).get("body"), {"nonsense": True}):
            if operation.method == "GET" and body is not None:
                continue
            answer = await operation.send(half, values, body=body)
            nonsense = " with a nonsensical body" if body == {"nonsense": True} else ""
            _refused(trial, f"without one: {operation.name}{nonsense}", answer)
    if not tried:
        raise Unproven(f"[check.routes] allows {persona.role} nothing that could be tried")


def _allowed(target: Target, persona: Persona) -> list[Operation]:
    return [one for one in target.operations if persona.role in row(target, one).get("allow", ())]


def _values(operation: Operation, persona: Persona) -> dict[str, str] | None:
    """Ids of the persona's own objects for the path; None when one is missing."""
    values = {name: persona.objects.get(name, ("",))[0] for name in operation.path_names}
    return values if all(values.values()) else None


def _refused(trial: Trial, attempt: str, answer: httpx2.Response) -> None:
    trial.refuse(
        attempt,
        answer,
        ok=answer.status_code == 403 and problem_code(answer) == CODE,
        expected=f"403 ({CODE})",
        of="operations",
    )


async def _database(target: Target, trial: Trial, client: httpx2.AsyncClient, half: httpx2.AsyncClient) -> None:
    """Whatever the code above forgets: such a session has no tenant, so it has no row."""
    if target.document.database is None:
        return
    contexts = []
    async with target.db_app() as db:
        for one in (client, half):
            digest = hashlib.sha256(target.session_token(one).encode()).digest()
            admitted = await db.fetchrow(target.database.admit, digest)
            contexts.append(None if admitted is None else admitted["context"])
    trial.allow(
        "the database gives the proved session its tenant context", "one" if contexts[0] else "none",
        ok=bool(contexts[0]), expected="one", of="database",
    )  # fmt: skip
    trial.refuse(
        "a tenant context for the session without a second factor", "one" if contexts[1] else "none",
        ok=not contexts[1], expected="none", of="database",
    )  # fmt: skip


async def _pages(
    target: Target, trial: Trial, persona: Persona, client: httpx2.AsyncClient, half: httpx2.AsyncClient
) -> None:
    """What is no operation of the document: pages, the person's own data, the way in for API clients."""
    ways, prove = set[str](), routes_of(target.sign_in).prove
    own = f"{target.sign_in.me.rpartition('/')[0]}/"  # where people prove who they are, judged elsewhere
    async for url, shown in pages(client, "/", PAGES_MAX):
        path = shown.request.url.raw_path.decode()
        if shown.status_code == 200 and not {url, path} & ways and not path.startswith(own) and not url.startswith(own):
            ways.add(path)
    if target.document.own_data.copy_of:
        ways.add(target.document.own_data.copy_of)
    if target.document.api is not None:
        api = await client_of(target)
        address = httpx2.URL(str(api.metadata["authorization_endpoint"]), params=Asking(api).query())
        ways.add(address.raw_path.decode())
    nobody = target.anonymous()
    for path in sorted(ways):
        if (await nobody.get(path, headers=HTML)).status_code == 200:
            continue  # it is shown to everybody
        what = path.partition("?")[0]
        if not trial.allow(
            f"{persona.name} with a second factor: {what}", await client.get(path, headers=HTML), of=path
        ):
            continue
        answer = await half.get(path, headers=HTML)
        led = answer.status_code == 303 and answer.headers.get("location", "").startswith(prove)
        ok = led or (answer.status_code == 403 and problem_code(answer) == CODE)
        expected = f"303 → {prove}, or 403 ({CODE})"
        trial.refuse(f"without one: {what}", answer, ok=ok, expected=expected, of=path)


async def _way_in(target: Target, trial: Trial, persona: Persona, half: httpx2.AsyncClient) -> None:
    how, routes = target.sign_in, routes_of(target.sign_in)
    for path in (how.me, routes.prove):
        answer = await half.get(path, headers=JSON)
        good = answer.status_code == 200
        trial.expect(f"{path} answers without a second factor", expected="200", observed=answer, ok=good)
    pages = [one for one in _allowed(target, persona) if one.method == "GET" and not one.path_names]
    sent = [await half.get(page.path, headers=HTML) for page in pages[:1]]
    for answer in sent:
        location = answer.headers.get("location", "")
        trial.expect(
            "people are sent to where they can prove or set one up",
            expected=f"303 → {routes.prove}",
            observed=answer,
            ok=answer.status_code == 303 and location.startswith(routes.prove),
        )


async def _others(target: Target, trial: Trial, people: list[Persona]) -> None:
    """A person without such a role is not held up."""
    plain = next((persona for persona in target.personas if persona not in people), None)
    if plain is None:
        return
    for operation in _allowed(target, plain):
        found = await first_allowed(target, operation, [plain]) if operation.method == "GET" else None
        if found is not None:
            trial.expect(f"{plain.name} acts without one", expected="below 400", observed=found[1], ok=True)
            return
    trial.unproven(f"{plain.name}, whose role is not privileged, may do nothing that could be tried")


async def _proofs(target: Target, trial: Trial, persona: Persona, half: httpx2.AsyncClient) -> None:
    """Only the person's own factor opens it."""
    routes = routes_of(target.sign_in)
    proved = await target.fresh(persona)
    me = await proved.get(target.sign_in.me, headers=JSON)
    good = me.status_code == 200 and me.json().get("second_factor_owed") is False
    trial.allow("the person's own passkey", me, ok=good, of="proof")
    for guess in GUESSES:
        answer = await half.post(routes.prove, json={"code": guess}, headers=JSON)
        trial.refuse(f"the code {guess!r}", answer, statuses={400, 401, 403, 422, 429}, of="proof")
    stranger = next((one for one in target.personas if one.role not in target.sign_in.privileged_roles), None)
    if stranger is not None and target.document.database is not None:
        theirs, _ = await enrol(await target.fresh(stranger), target.sign_in, "judge")
        options = await options_from(await half.get(routes.prove, headers=JSON), routes.prove)
        answer = await half.post(
            routes.prove, json={"credential": theirs.assertion(options, origin_of(half))}, headers=JSON
        )
        trial.refuse("another person's passkey", answer, statuses={400, 401, 403}, of="proof")
        await forget_factor(target, stranger)
    me = await half.get(target.sign_in.me, headers=JSON)
    owed = me.json().get("second_factor_owed") if me.status_code == 200 else None
    trial.expect("after all that the session still owes it", expected="True", observed=owed, ok=owed is True)
