"""A browser's session is bound to its device: a stolen cookie jar dies within minutes, and cannot be kept alive.

Why
    Malware that copies the cookies of a browser is signed in wherever it is sent, second factor and all. A key that
    cannot leave the machine ends that: the session's second cookie lives for minutes, and only who has the key gets
    the next.
How it is attacked
    The judge is a browser with Device Bound Session Credentials: it binds a session, refreshes it and lives on. A
    thief with a copy of its jar works at first, cannot refresh, and is dead when the bound cookie is over. Requests
    without the bound cookie, with another session's, and with an invented one are tried. Proofs are forged in each of
    their parts, replayed, and sent eight at once; a proof by another key must end the session. A browser that binds
    nothing must notice nothing. A jar must not be exchangeable for an app's grant that lives on, and an API token is
    worth nothing without its key.
How to fix
    Leave `identity.devices.binding` on, keep cookies to `seawall.identity`, and let admission ask `seawall.admit`
    with both hashes.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import time
import warnings
from collections.abc import Callable
from http.cookies import SimpleCookie

import httpx2
from joserfc.jwk import ECKey, RSAKey

from seawall_check.control import Control
from seawall_check.controls._sweep import places_of
from seawall_check.controls.identity._api import client_of, signed_in
from seawall_check.document import Persona
from seawall_check.errors import Unproven
from seawall_check.probes.dbsc import JSON, DeviceBrowser, cookie_header, new_key, proof
from seawall_check.probes.oauth import Asking, Key
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="identity/device-binding",
    title="Browser sessions are bound to their device where the browser can; a stolen cookie jar dies within minutes",
    refs=("ASVS 10.3.5", "W3C DBSC", "RFC 9449"),
    timeout_s=240,
)

LIFETIME_S = 4
LATENCY_MAX_S = 10
"""A browser counts a cookie's life from when it arrived, so a sound server takes it a little longer than it said."""
LIFETIME_MAX_S = 900
RACERS = 8
_ASSET = re.compile(r'<(?:link|script|img)\b[^>]*?\b(?:href|src)="(/[^"/][^"]*)"')
REFUSED = {400, 401, 403, 404, 409}


async def check(target: Target, trial: Trial) -> None:
    if not target.personas:
        raise Unproven("there is no persona to sign in as")
    await _offered(target, trial)
    env = {
        "SEAWALL_IDENTITY__DEVICES__COOKIE_LIFETIME_S": str(LIFETIME_S),
        "SEAWALL_IDENTITY__DEVICES__GRACE_S": "0",
    }
    async with target.variant(env=env) as app:
        persona = app.personas[-1]
        timed = _stolen(app, trial, persona), _unbound(app, trial, persona)
        await asyncio.gather(*timed, _registrations(app, trial, persona), _refreshes(app, trial, persona))
        await _race(app, trial, persona)
        await _wrong_key(app, trial, persona)
        await _signed_out(app, trial, persona)
        await _outlived(app, trial, persona)


async def _bound(app: Target, trial: Trial, persona: Persona, of: str) -> DeviceBrowser:
    """A browser with a bound session whose cookie has come back once. Raises Unproven when it cannot be had."""
    browser = await DeviceBrowser.signed_in(app, persona)
    if not trial.allow("a browser binds its session", await browser.register(), of=of):
        raise Unproven("no session can be bound, so nothing about bound sessions can be tried")
    trial.allow("the bound browser goes on", await browser.me(), of=of)
    return browser


async def _offered(target: Target, trial: Trial) -> None:
    """The app as it is: the offer of a sign-in, and what binding answers."""
    browser = await DeviceBrowser.signed_in(target, target.personas[-1])
    offer = browser.offer
    trial.expect(
        "a sign-in offers to bind the session, with ES256",
        expected="Secure-Session-Registration with ES256, a path and a challenge",
        observed=f"{offer.algorithms} at {offer.path}" if offer else "no offer",
        ok=offer is not None and "ES256" in offer.algorithms,
    )
    if offer is None:
        raise Unproven("the sign-in offers no binding, so nothing else can be tried")
    answer = await browser.register()
    if not trial.allow("a browser binds its session", answer, of="offer"):
        return
    told, morsel = answer.json(), SimpleCookie(answer.headers.get("set-cookie", "")).get(browser.cookie)
    scope = told.get("scope", {})
    trial.expect(
        "the binding covers this origin and no other",
        expected=f"{target.base_url}, include_site false",
        observed=f"{scope.get('origin')}, include_site {scope.get('include_site')}",
        ok=scope.get("origin") == target.base_url and scope.get("include_site") is False,
    )
    # Each may cost a signature, and a browser has few: the assets of one page must not use them up.
    excluded = [one["path"] for one in scope.get("scope_specification", ()) if one.get("type") == "exclude"]
    held = [path for path in await _assets(browser) if not any(path.startswith(f"{one}/") for one in excluded)]
    trial.expect(
        "what a page loads is not in the scope",
        expected="every style and script excluded",
        observed=", ".join(held) or "every style and script excluded",
        ok=not held,
    )
    trial.expect(
        f"the bound cookie is __Host-, HttpOnly, Secure, Strict, and of at most {LIFETIME_MAX_S} s",
        expected="all of them",
        observed="no cookie" if morsel is None else "; ".join(f"{k}={v}" for k, v in morsel.items() if v),
        ok=morsel is not None
        and morsel.key.startswith("__Host-")
        and bool(morsel["httponly"] and morsel["secure"])
        and morsel["samesite"].lower() == "strict"
        and morsel["max-age"].isdigit()
        and 0 < int(morsel["max-age"]) <= LIFETIME_MAX_S,
    )
    await _stored(target, trial, browser)


async def _assets(browser: DeviceBrowser) -> list[str]:
    """The styles, icons and scripts of the app's first page, of its own origin."""
    page = await browser.client.get("/", headers={"Accept": "text/html"}, follow_redirects=True)
    return [one.partition("?")[0] for one in _ASSET.findall(page.text)]


async def _stored(target: Target, trial: Trial, browser: DeviceBrowser) -> None:
    value = browser.held
    async with target.db_owner() as db:
        hashed = await places_of(db, hashlib.sha256(value.encode()).digest())
        clear = await places_of(db, value.encode()) if value else []
    trial.allow(
        "the search finds the bound cookie's SHA-256", ", ".join(hashed) or "nowhere", ok=bool(hashed), of="kept"
    )
    trial.refuse("the cookie itself is in no column", ", ".join(clear) or "nowhere", ok=not clear, of="kept")


async def _stolen(app: Target, trial: Trial, persona: Persona) -> None:
    """The theft itself, on the clock."""
    other = await _bound(app, trial, persona, "theft")
    foreign, browser = other.held, await _bound(app, trial, persona, "theft")
    jar, taken_s = browser.jar, time.monotonic()
    trial.allow("the copied jar, at once", await browser.me(jar), of="theft")
    bare = {name: value for name, value in jar.items() if name != browser.cookie}
    for what, held in {
        "the jar without the bound cookie": bare,
        "the jar with an invented bound cookie": bare | {browser.cookie: secrets.token_urlsafe(32)},
        "the jar with the bound cookie of another session": bare | {browser.cookie: foreign},
    }.items():
        trial.refuse(what, await browser.me(held), statuses={401}, of="theft")
    # The thief's jar is used to its last second; the browser meanwhile refreshes whenever its own cookie is over.
    alive_s, sent_s, last = 0.0, time.monotonic(), await browser.me(jar)
    while last.status_code == 200 and sent_s - taken_s < 2 * (LIFETIME_S + LATENCY_MAX_S):
        alive_s = sent_s - taken_s
        await asyncio.sleep(0.4)
        sent_s, last = time.monotonic(), await browser.me(jar)
    trial.refuse(
        "the copied jar, after the bound cookie's life",
        f"{last.status_code} after {alive_s:.1f} s",
        ok=last.status_code == 401 and alive_s < LIFETIME_S + LATENCY_MAX_S,
        expected=f"401 after {LIFETIME_S} s",
        artifact=last,
        of="theft",
    )
    thief = app.anonymous()
    answer = await browser.send(None, thief, jar)
    trial.refuse("the thief refreshes without a key", answer, statuses={401, 403}, of="theft")
    _gives_nothing(trial, "that refusal gives no cookie", browser, answer)
    trial.allow("the browser refreshes with its key", await browser.refresh(), of="theft")
    trial.allow("the browser goes on, long after", await browser.me(), of="theft")
    trial.refuse("the old jar once more", await browser.me(jar), statuses={401}, of="theft")


def _gives_nothing(trial: Trial, what: str, browser: DeviceBrowser, answer: httpx2.Response) -> None:
    given = SimpleCookie("; ".join(answer.headers.get_list("set-cookie"))).get(browser.cookie)
    value = given.value if given is not None else ""
    trial.expect(what, expected="no bound cookie", observed="a cookie" if value else "no bound cookie", ok=not value)


async def _unbound(app: Target, trial: Trial, persona: Persona) -> None:
    """A browser that does not know the header must not be able to tell that anything is there."""
    browser = await DeviceBrowser.signed_in(app, persona)
    first = await browser.me()
    await asyncio.sleep(LIFETIME_S + LATENCY_MAX_S)
    later = await browser.me()
    trial.expect(
        f"a browser that binds nothing is signed in after {LIFETIME_S + LATENCY_MAX_S} s as before",
        expected="200, 200",
        observed=f"{first.status_code}, {later.status_code}",
        ok=first.status_code == later.status_code == 200,
    )


async def _registrations(app: Target, trial: Trial, persona: Persona) -> None:
    """Registrations that are wrong in exactly one way, each few in a session of their own: there are limits."""
    bound = await _bound(app, trial, persona, "proof")
    browsers = [await DeviceBrowser.signed_in(app, persona) for _ in range(3)]
    for number, (what, make) in enumerate(_forgeries(bound).items()):
        browser = browsers[number % len(browsers)]
        token = make(browser.key, browser.offered.challenge)
        trial.refuse(f"bind with {what}", await browser.register(token), statuses=REFUSED, of="proof")
    again = await bound.register(proof(new_key(), bound.offered.challenge, bring=True))
    trial.refuse("put another key in the place of a bound one", again, statuses=REFUSED, of="proof")


def _forgeries(other: DeviceBrowser) -> dict[str, Callable[[ECKey, str], str]]:
    """What is wrong → the registration, from a browser's key and its challenge."""
    theirs, weak = other.offered.challenge, _weak_key()
    return {
        "no proof at all": lambda key, challenge: "",
        "words": lambda key, challenge: "not-a-token",
        "alg none": lambda key, challenge: proof(key, challenge, bring=True, algorithm="none"),
        "the public key as a secret (HS256)": lambda key, told: proof(key, told, bring=True, algorithm="HS256"),
        "no key": proof,
        "another key than it is signed with": lambda key, told: proof(key, told, jwk=new_key().as_dict(private=False)),
        "another type": lambda key, challenge: proof(key, challenge, bring=True, typ="at+jwt"),
        "an RSA key of 1,024 bits": lambda key, challenge: proof(weak, challenge, bring=True, algorithm="RS256"),
        "an altered signature": lambda key, challenge: _altered(proof(key, challenge, bring=True)),
        "an invented challenge": lambda key, _: proof(key, secrets.token_urlsafe(48), bring=True),
        "another session's challenge": lambda key, _: proof(key, theirs, bring=True),
        "the proof of another session": lambda *_: proof(other.key, theirs, bring=True),
    }


def _weak_key() -> RSAKey:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is weak is the point
        return RSAKey.generate_key(1_024)


def _altered(token: str) -> str:
    signed, _, mac = token.rpartition(".")
    return f"{signed}.{'A' * 20}{mac[20:]}"


async def _refreshes(app: Target, trial: Trial, persona: Persona) -> None:
    """Refreshes that are replayed or sign something else: refused, and nobody is signed out by them."""
    bound = await _bound(app, trial, persona, "replay")
    used = proof(bound.key, await bound.challenge())
    trial.allow("a proof refreshes", await bound.send(used), of="replay")
    replayed = await bound.send(used)
    trial.refuse("the same proof once more", replayed, statuses=REFUSED, of="replay")
    _gives_nothing(trial, "the replay gives no cookie", bound, replayed)
    for what, token in {
        "a challenge of one's own": proof(bound.key, secrets.token_urlsafe(48)),
        "the challenge of the sign-in": proof(bound.key, bound.offered.challenge),
        "words": "not-a-token",
        "no signature": proof(bound.key, await bound.challenge(), algorithm="none"),
    }.items():
        trial.refuse(f"refresh with {what}", await bound.send(token), statuses=REFUSED, of="replay")
    refreshed, after = await bound.refresh(), await bound.me()
    trial.expect(
        "none of this signed the browser out",
        expected="200, 200",
        observed=f"{refreshed.status_code}, {after.status_code}",
        ok=refreshed.status_code == after.status_code == 200,
    )


async def _race(app: Target, trial: Trial, persona: Persona) -> None:
    """Several refreshes with one challenge: one is enough, and nobody is locked out."""
    browser = await _bound(app, trial, persona, "race")
    token = proof(browser.key, await browser.challenge())
    answers = await asyncio.gather(*(browser.send(token) for _ in range(RACERS)))
    won = sum(answer.status_code == 200 for answer in answers)
    trial.expect(
        f"one proof, sent {RACERS} times at once, is good for one refresh",
        expected="1",
        observed=won,
        ok=won == 1,
        artifact="\n".join(str(answer.status_code) for answer in answers),
    )
    await asyncio.sleep(LIFETIME_S)  # in its jar, the cookie is over
    trial.expect(
        "the browser refreshes after that and goes on",
        expected="200, 200",
        observed=f"{(await browser.refresh()).status_code}, {(after := await browser.me()).status_code}",
        ok=after.status_code == 200,
    )


async def _wrong_key(app: Target, trial: Trial, persona: Persona) -> None:
    """A live challenge signed with another key: somebody has the cookies and not the device. The session ends at
    once.
    """
    browser = await _bound(app, trial, persona, "wrong key")
    jar = browser.jar
    forged = proof(new_key(), await browser.challenge(app.anonymous(), jar))
    trial.refuse(
        "refresh with a proof by another key", await browser.send(forged, app.anonymous(), jar), of="wrong key"
    )
    trial.refuse("the copied jar after that", await browser.me(jar), statuses={401}, of="wrong key")
    after = await browser.send(None)
    trial.refuse("a refresh by the browser itself after that", after, statuses={401}, of="wrong key")


async def _signed_out(app: Target, trial: Trial, persona: Persona) -> None:
    if not app.sign_in.sign_out:
        trial.unproven("target.json names no sign_out, so a binding cannot be ended")
        return
    browser = await _bound(app, trial, persona, "sign-out")
    trial.allow("a proof before signing out", await browser.refresh(), of="sign-out")
    challenge, jar = await browser.challenge(), browser.jar
    trial.allow("signing out", await browser.client.post(app.sign_in.sign_out), of="sign-out")
    late = await browser.send(proof(browser.key, challenge), app.anonymous(), jar)
    trial.refuse("a refresh with the right key, after signing out", late, statuses={401}, of="sign-out")
    trial.refuse("both cookies, after signing out", await browser.me(jar), statuses={401}, of="sign-out")


async def _outlived(app: Target, trial: Trial, persona: Persona) -> None:
    """A stolen jar must not be exchanged for something that lives longer: an app's grant, once the sign-in is not
    fresh.
    """
    if app.document.api is None:
        trial.unproven("target.json names no API client, so neither grants nor tokens bound to a key can be tried")
        return
    api = await client_of(app)
    browser = await _bound(app, trial, persona, "grant")

    async def agrees() -> httpx2.Response:
        asked = Asking(api).query() | {"decision": "allow"}
        address = str(api.metadata["authorization_endpoint"])
        thief, headers = app.anonymous(), JSON | cookie_header(browser.jar)
        return await thief.post(address, data=asked, headers=headers)

    trial.allow("let an app act, a moment after the sign-in", await agrees(), of="grant")
    async with app.db_owner() as db:
        await db.execute(
            "UPDATE seawall.sessions SET authenticated_at = authenticated_at - interval '1 hour' WHERE token_hash = $1",
            hashlib.sha256(browser.jar[app.sign_in.session_cookie].encode()).digest(),
        )
    trial.refuse("let an app act, with a jar copied an hour after it", await agrees(), statuses={401}, of="grant")
    await _token(app, trial, persona)


async def _token(app: Target, trial: Trial, persona: Persona) -> None:
    """The same for API clients: a token is worth nothing without a fresh proof of its key (RFC 9449)."""
    api, _ = await signed_in(app, persona)
    me = app.sign_in.me
    await api.get(me)  # takes in the server's nonce
    used = api.proof("GET", me)
    trial.allow("a token with a proof of its key", await api.get(me, proof=used), of="token")
    trial.refuse("the same proof once more", await api.get(me, proof=used), statuses={401}, of="token")
    trial.refuse("the token without a proof", await api.get(me, proof=""), statuses={401}, of="token")
    theirs = Key.fresh().proof("GET", f"{app.base_url}{me}", access_token=api.access_token, nonce=api.nonce)
    trial.refuse("the token with a proof of another key", await api.get(me, proof=theirs), statuses={401}, of="token")
