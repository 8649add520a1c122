"""Every sign-in and every unusual request gets a score with reasons; signals notify or step up, and sign nobody out.

Why
    A password that was guessed and a cookie that was copied look right. What gives them away is around them: a
    browser never seen, another country, another operating system in the middle of a session. Systems that react by
    signing people out are switched off by their victims, who travel and change networks every day; so a signal costs
    trust, not work.
How it is attacked
    The app is started with small databases of countries and operators in which this machine's loopback networks lie
    in different places. People sign in from known and unknown browsers, from another country, and after a burst of
    wrong passwords; a session with a second factor is used from another network, another country, another platform,
    and from two places at once. For each the recorded score, reasons and effect are read; nobody may be signed out;
    what is unknown must count for nothing; the same facts must give the same answer; no address may be kept.
How to fix
    Leave sign-in to `seawall.identity`; set `identity.risk.country_database` and `asn_database` to MaxMind DB files.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from seawall_check.control import Control
from seawall_check.controls._factor import JSON, Action, approval_address, enrol
from seawall_check.controls._sweep import places_of
from seawall_check.controls.identity._embedded import Embedded
from seawall_check.document import Persona
from seawall_check.errors import Unproven
from seawall_check.probes import mmdb
from seawall_check.sign_in import sign_in
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="identity/risk",
    title="Sign-ins and requests are scored with reasons; signals notify or step up, only failed proofs revoke",
    refs=("ASVS 6.3.5", "ASVS 8.2.4"),
    timeout_s=240,
)

KIND = "identity.risk"
HOME, NEARBY, ABROAD, NOWHERE = "127.0.11.1", "127.0.12.1", "127.0.13.1", "127.0.14.1"
"""Three networks; the first two of one operator. The last is in no database."""
PLACES = {"127.0.11.0/24": ("AA", 64_501), "127.0.12.0/24": ("AA", 64_501), "127.0.13.0/24": ("BB", 64_502)}
WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0 Safari/537.36"
LINUX = "Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0"
WRONG_PASSWORDS = 6


async def check(target: Target, trial: Trial) -> None:
    with tempfile.TemporaryDirectory(prefix="seawall-check-") as folder:
        countries = {network: {"country_code": place[0]} for network, place in PLACES.items()}
        operators = {network: {"autonomous_system_number": place[1]} for network, place in PLACES.items()}
        env = {
            "SEAWALL_IDENTITY__RISK__COUNTRY_DATABASE": str(mmdb.write(Path(folder, "country.mmdb"), countries)),
            "SEAWALL_IDENTITY__RISK__ASN_DATABASE": str(mmdb.write(Path(folder, "asn.mmdb"), operators)),
        }
        async with target.variant(env=env) as app:
            action = Action.of(app)
            people = action.personas(app)
            others = [one for one in app.personas if one.role != action.role]
            if not people or len(others) < 2:
                raise Unproven(f"a persona of role {action.role} and two others are needed")
            await _sign_ins(Watcher(app, trial, others[0]))
            await _failures(Watcher(app, trial, others[1]))
            await _session(Watcher(app, trial, people[-1]), action)
            await _no_addresses(app, trial)


@dataclass
class Watcher:
    """One persona, and what the app records about them."""

    app: Target
    trial: Trial
    persona: Persona
    seen: set[str] = field(default_factory=set)

    async def arrives(self, address: str, agent: str = WINDOWS, known: str = "") -> httpx2.AsyncClient:
        """Sign in with an empty jar, or with the cookie of a browser that was here before."""
        client = self.app.anonymous(address=address, agent=agent)
        name = self.app.sign_in.known_cookie
        if known:
            client.cookies.set(name, known)
        await sign_in(client, self.app.sign_in, self.persona)
        return client

    def known(self, client: httpx2.AsyncClient) -> str:
        """The cookie by which a browser is known. Raises Unproven when there is none."""
        name = self.app.sign_in.known_cookie
        for cookie in client.cookies.jar:
            if cookie.name == name and cookie.value:
                return cookie.value
        raise Unproven("target.json names no known_cookie, or a sign-in sets none")

    async def news(self) -> list[dict[str, Any]]:
        """The events about this persona's risk since the last call."""
        query = self.app.database.audit_query.strip().rstrip(";")
        if not query:
            raise Unproven("target.json gives no audit_query")
        async with self.app.db_owner() as db:
            rows = await db.fetch(f"SELECT id, body::text AS body FROM ({query}) AS q WHERE kind = $1", KIND)
        events = {str(row["id"]): json.loads(row["body"]) for row in rows}
        fresh = [(key, one) for key, one in events.items() if key not in self.seen]
        self.seen |= events.keys()
        return [one for _, one in fresh if one.get("user_id") == self.persona.user_id]

    async def expect(self, what: str, effect: str, *reasons: str, exactly: bool = True) -> dict[str, Any]:
        """That the one new event has these reasons and this effect; `none` is also met by no event at all."""
        news = await self.news()
        event: dict[str, Any] = news[-1] if news else {"score": 0, "reasons": [], "effect": "none"}
        had = set(map(str, event["reasons"]))
        fits = had == set(reasons) if exactly else had >= set(reasons)
        self.trial.expect(
            what,
            expected=f"{effect}: {', '.join(reasons) or 'no reason'}",
            observed=f"{event.get('effect')}, score {event.get('score')}: {', '.join(sorted(had)) or 'no reason'}",
            ok=fits and event.get("effect") == effect and (effect != "none" or event.get("score") == 0),
        )
        return event

    async def uses(self, what: str, client: httpx2.AsyncClient, jar: dict[str, str] | None = None, of: str = "") -> str:
        """A change-like request that everybody may make; gives the AAL that the app tells. It must not be refused."""
        cookies = {} if jar is None else {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())}
        response = await client.get(self.app.sign_in.me, headers=JSON | cookies)
        signed_in = response.status_code == 200
        self.trial.expect(f"{what}: nobody is signed out", expected="200", observed=response, ok=signed_in, of=of)
        return str(response.json().get("aal", "")) if signed_in else "none"


async def _sign_ins(who: Watcher) -> None:
    first = await who.arrives(HOME)
    await who.expect("the first sign-in ever, with nothing to compare with", "none")
    known = who.known(first)
    alone = await who.app.anonymous().get(
        who.app.sign_in.me, headers=JSON | {"Cookie": f"{who.app.sign_in.known_cookie}={known}"}
    )
    who.trial.allow("the first browser is signed in", await first.get(who.app.sign_in.me, headers=JSON), of="known")
    who.trial.refuse("the known-browser cookie alone opens nothing", alone, statuses={401}, of="known")
    await who.arrives(HOME, known=known)
    await who.expect("the same browser again", "none")
    await who.arrives(NEARBY, known=known)
    await who.expect("the same browser in another network of the same operator", "none")
    await who.arrives(NOWHERE, agent="", known=known)
    await who.expect("the same browser from where nothing is known, saying nothing of itself", "none")
    scores = []
    for _ in range(2):
        await who.arrives(HOME)
        scores.append((await who.expect("a browser never seen", "notify", "new-device")).get("score"))
    await who.arrives(ABROAD)
    what, reasons = "a browser never seen, in another country", ("new-device", "country-changed", "operator-changed")
    scores.append((await who.expect(what, "step-up", *reasons)).get("score"))
    who.trial.expect(
        "the same facts score the same, and more of them more",
        expected="two equal scores and a higher one",
        observed=", ".join(map(str, scores)),
        ok=scores[0] == scores[1] and (scores[2] or 0) > (scores[0] or 0),
    )


async def _failures(who: Watcher) -> None:
    await who.arrives(HOME)
    await who.expect("a sign-in before anything failed", "none")
    form = await Embedded.find(who.app)
    if form is None:
        who.trial.unproven("the app's sign-in form is on another origin, so wrong passwords cannot be tried")
        return
    known = who.known(await who.arrives(HOME))
    await who.news()
    for _ in range(WRONG_PASSWORDS):
        await form.submit(form.query(), who.persona.login, "wrong password")
    await who.arrives(HOME, known=known)
    await who.expect(f"a sign-in after {WRONG_PASSWORDS} wrong passwords", "notify", "failures-account")


async def _session(who: Watcher, action: Action) -> None:
    client = await who.arrives(HOME)
    authenticator = await enrol(who.app, client)
    jar = {cookie.name: cookie.value or "" for cookie in client.cookies.jar}
    await who.news()
    who.trial.allow("a session with a second factor", f"AAL {await who.uses('at home', client)}", ok=True, of="session")

    async def elsewhere(address: str, agent: str, what: str) -> str:
        return await who.uses(what, who.app.anonymous(address=address, agent=agent), jar)

    await _aal(who, "at home", await who.uses("at home", client), "2")
    await _aal(who, "nearby", await elsewhere(NEARBY, WINDOWS, "another network of the same operator"), "2")
    await _aal(who, "unknown", await elsewhere(NOWHERE, "", "unknown place and browser"), "2")
    await who.expect("none of these is news", "none")
    await _aal(who, "abroad", await elsewhere(ABROAD, WINDOWS, "another country"), "2")
    await who.expect("another country within a session", "notify", "country-changed", "operator-changed")
    await _aal(who, "abroad again", await elsewhere(ABROAD, WINDOWS, "another country, again"), "2")
    await who.expect("the same once more is not news", "none")
    await _aal(who, "home at once", await who.uses("at home a moment later", client), "1")
    await who.expect("two places at once", "step-up", "two-networks", exactly=False)
    await _renewed(who, action, client, authenticator)
    jar = {cookie.name: cookie.value or "" for cookie in client.cookies.jar}
    await _aal(who, "other platform", await elsewhere(HOME, LINUX, "another platform in mid-session"), "1")
    await who.expect("a platform that cannot have changed", "step-up", "platform-changed", exactly=False)
    await _aal(who, "at home after that", await who.uses("at home after that", client), "1")


async def _aal(who: Watcher, where: str, told: str, wanted: str) -> None:
    what = "keeps its second factor" if wanted == "2" else "loses the trust of its second factor"
    who.trial.expect(
        f"{where}: the session {what}", expected=f"AAL {wanted}", observed=f"AAL {told}", ok=told == wanted
    )


async def _renewed(who: Watcher, action: Action, client: httpx2.AsyncClient, authenticator: Any) -> None:
    """A factor that is proved anew ends the doubt."""
    for path in action.objects(who.persona):
        response = await action.send(client, path, action.above)
        if response.status_code == 401:
            code = {"code": await authenticator.code()}
            approved = await client.post(approval_address(response), json=code, headers=JSON)
            who.trial.allow("the second factor is proved again", approved, of="session")
            await _aal(who, "after a fresh factor", await who.uses("after a fresh factor", client), "2")
            return
    raise Unproven(f"no object of {who.persona.name} asks for a step-up")


async def _no_addresses(app: Target, trial: Trial) -> None:
    """What the app keeps of where people are must not be their address."""
    needles: Collection[str] = (HOME, NEARBY, ABROAD, "127.0.11.", WINDOWS[:40], LINUX[:40])
    async with app.db_owner() as db:
        found = [place for needle in needles for place in await places_of(db, needle.encode())]
        some = await places_of(db, app.personas[0].login.encode())
    trial.allow("the search finds what is stored in clear", ", ".join(some) or "nowhere", ok=bool(some), of="kept")
    told = ", ".join(sorted(set(found))) or "nowhere"
    trial.refuse("no address and no User-Agent is in any column", told, ok=not found, expected="nowhere", of="kept")
