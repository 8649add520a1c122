"""Sign-in is OIDC code flow with PKCE S256, state, nonce and issuer check, and a callback works once.

Why
    Whoever can pass a forged, borrowed or replayed answer of the provider to the app is signed in as somebody else.
    OAuth's parts each stop one such attack, and each is easily left out without anything looking broken.
How it is attacked
    The app is started with the judge's own provider. An honest sign-in succeeds; then the provider or the browser lies
    in one way at a time: state, issuer, nonce, audience, algorithm, signature, times, replayed callbacks, injected
    codes, mangled answers, one callback several times at the same moment. It ends its people's sessions by logout
    tokens, honest, forged and replayed. The embedded development provider, and the endpoint where people let API
    clients in, are asked without PKCE, with `plain`, with a foreign redirect address, a wrong verifier and a used code.
How to fix
    Use the sign-in of `seawall.identity` and do not call a provider by hand. Behind a proxy set
    `web.public_origin`, so that the redirect address is exact.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookiejar import Cookie
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2

from seawall_check.control import Control
from seawall_check.controls.identity._authorization import try_authorization
from seawall_check.controls.identity._embedded import HTML, Embedded
from seawall_check.controls.identity._logout import try_logout
from seawall_check.document import Persona
from seawall_check.errors import Unproven
from seawall_check.probes.provider import CLIENT_ID, HostileProvider, Lie, hostile_provider, s256
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="identity/oidc-pkce",
    title="OIDC code flow with PKCE S256, state, nonce and issuer check; a callback works once",
    refs=("ASVS 10.2.1", "ASVS 10.4.6", "ASVS 10.5.1", "ASVS 10.5.4", "RFC 9700", "RFC 9207", "RFC 7636"),
)

START = "/auth/sign-in?provider=judge"
CALLBACK = "/auth/callback/judge"
SUBJECT = "judge-subject"
RACERS = 5


def _lies(now: int) -> Mapping[str, Lie]:
    """Every lie of the provider that must end in a refusal."""
    return {
        "the token has another nonce": Lie(lambda c: {**c, "nonce": secrets.token_urlsafe(24)}),
        "the token has no nonce": Lie(lambda c: {**c, "nonce": None}),
        "the token is for another client": Lie(lambda c: {**c, "aud": "another-client"}),
        "the token has two audiences and no azp": Lie(lambda c: {**c, "aud": [CLIENT_ID, "another-client"]}),
        "the token names another authorized party": Lie(lambda c: {**c, "azp": "another-client"}),
        "the token is of another issuer": Lie(lambda c: {**c, "iss": "https://idp.example"}),
        "the token has expired": Lie(lambda c: {**c, "exp": now - 90, "iat": now - 400}),
        "the token never expires": Lie(lambda c: {**c, "exp": None}),
        "the token expires at a word": Lie(lambda c: {**c, "exp": "tomorrow"}),
        "the token is from the future": Lie(lambda c: {**c, "iat": now + 600}),
        "the token is not valid yet": Lie(lambda c: {**c, "nbf": now + 600}),
        "the token has no subject": Lie(lambda c: {**c, "sub": None}),
        "the token is unsigned (alg none)": Lie(signature="none"),
        "the token is signed HS256 with the public key": Lie(signature="hs256-public-key"),
        "the token is signed with another key": Lie(signature="other-key"),
        "the token brings its own key": Lie(signature="embedded-key"),
        "the signature is altered": Lie(signature="broken"),
        "a claim occurs twice": Lie(signature="duplicate-claims"),
        "the token endpoint sends 8 MiB": Lie(reply="oversized"),
        "the token endpoint sends no JSON": Lie(reply="garbage"),
        "the token endpoint sends a list": Lie(reply="array"),
        "the token endpoint sends no ID token": Lie(reply="no-token"),
        "the ID token is a number": Lie(reply="number-token"),
    }


@dataclass
class Attempt:
    """One sign-in with the judge's provider, between its start and its callback.

    All attempts share a connection; each has its own cookies, as a browser of its own would.
    """

    target: Target
    provider: HostileProvider
    query: dict[str, str]
    cookies: list[Cookie]

    @classmethod
    async def begin(cls, target: Target, provider: HostileProvider) -> Attempt:
        client = await target.client()
        client.cookies.clear()
        response = await client.get(START, headers=HTML)
        location = response.headers.get("location", "")
        if not location.startswith(f"{provider.issuer}/authorize?"):
            raise Unproven(f"{START} says {response.status_code} and does not lead to the judge's provider")
        return cls(target, provider, dict(parse_qsl(urlsplit(location).query)), list(client.cookies.jar))

    def answer(self, lie: Lie | None = None, subject: str = SUBJECT) -> dict[str, str]:
        """The parameters that an honest provider sends back."""
        code = self.provider.issue(self.query, subject, lie)
        return {"code": code, "state": self.query.get("state", ""), "iss": self.provider.issuer}

    async def callback(
        self, parameters: Mapping[str, str] | str, client: httpx2.AsyncClient | None = None
    ) -> tuple[httpx2.Response, bool]:
        """Send the browser back, on a connection of its own if given; gives the answer and whether it is signed in."""
        query = parameters if isinstance(parameters, str) else urlencode(parameters)
        client = client or await self.target.client()
        client.cookies.clear()
        for cookie in self.cookies:
            client.cookies.jar.set_cookie(cookie)
        response = await client.get(f"{CALLBACK}?{query}", headers=HTML)
        me = await client.get(self.target.sign_in.me, headers={"Accept": "application/json"})
        return response, me.status_code == 200


async def check(target: Target, trial: Trial) -> None:
    persona = target.personas[0] if target.personas else None
    if persona is None:
        raise Unproven("there is no persona to sign in as")
    async with hostile_provider() as provider:
        prefix = "SEAWALL_IDENTITY__PROVIDERS__JUDGE__"
        env = {
            f"{prefix}ISSUER": provider.issuer,
            f"{prefix}CLIENT_ID": CLIENT_ID,
            f"{prefix}EMAIL_DOMAINS": json.dumps([persona.login.rpartition("@")[2]]),
        }
        async with target.variant(env=env) as app:
            await _link(app, provider, app.persona(persona.name))
            await _honest(app, provider, trial)
            for name, lie in _lies(int(time.time())).items():
                attempt = await Attempt.begin(app, provider)
                response, signed_in = await attempt.callback(attempt.answer(lie))
                _refused(trial, name, response, signed_in)
            await _parameters(app, provider, trial)
            await _replays(app, provider, trial)
            await _strangers(app, provider, trial, persona)
            await _logout(app, provider, trial)
    await _embedded(target, trial)
    if target.document.api is not None:
        await try_authorization(target, trial)


async def _link(app: Target, provider: HostileProvider, persona: Persona) -> None:
    async with app.db_owner() as db:
        await db.execute(
            "INSERT INTO seawall.identities (issuer, subject, user_id) VALUES ($1, $2, $3::uuid)",
            provider.issuer,
            SUBJECT,
            persona.user_id,
        )


async def _honest(app: Target, provider: HostileProvider, trial: Trial) -> None:
    attempt = await Attempt.begin(app, provider)
    query = attempt.query
    trial.expect(
        "the authorization request asks for PKCE S256",
        expected="code_challenge_method=S256 and a challenge of 43 characters",
        observed=f"{query.get('code_challenge_method')}, {len(query.get('code_challenge', ''))} characters",
        ok=query.get("code_challenge_method") == "S256" and len(query.get("code_challenge", "")) == 43,
    )
    other = (await Attempt.begin(app, provider)).query
    for name in ("state", "nonce", "code_challenge"):
        fresh = query.get(name) != other.get(name)
        trial.expect(
            f"the authorization request carries a fresh {name}",
            expected="at least 22 characters, another one each time",
            observed=f"{len(query.get(name, ''))} characters, {'new' if fresh else 'the same'}",
            ok=len(query.get(name, "")) >= 22 and fresh,
        )
    trial.expect(
        "the redirect address is the app's own callback, exactly",
        expected=f"{app.base_url}{CALLBACK}",
        observed=query.get("redirect_uri", ""),
        ok=query.get("redirect_uri") == f"{app.base_url}{CALLBACK}",
    )
    response, signed_in = await attempt.callback(attempt.answer())
    trial.allow("an honest sign-in", response, ok=signed_in, expected="signed in")
    form = provider.redemptions[-1] if provider.redemptions else {}
    trial.expect(
        "the code is exchanged with its verifier",
        expected="a code_verifier that fits the challenge",
        observed="fits" if s256(form.get("code_verifier", "")) == query.get("code_challenge") else "does not fit",
        ok=s256(form.get("code_verifier", "")) == query.get("code_challenge"),
    )


async def _parameters(app: Target, provider: HostileProvider, trial: Trial) -> None:
    """Lies that the browser brings back: the callback's own parameters."""

    async def attack(name: str, change: Mapping[str, str | None]) -> None:
        attempt = await Attempt.begin(app, provider)
        changed = {**attempt.answer(), **change}
        response, signed_in = await attempt.callback({k: v for k, v in changed.items() if v is not None})
        _refused(trial, name, response, signed_in)

    await attack("another state", {"state": secrets.token_urlsafe(32)})
    await attack("no state", {"state": None})
    await attack("the state of another sign-in", {"state": (await Attempt.begin(app, provider)).query.get("state")})
    await attack("another issuer (mix-up)", {"iss": "https://idp.example"})
    await attack("no issuer, although advertised", {"iss": None})
    await attack("no code", {"code": None})
    await attack("an invented code", {"code": secrets.token_urlsafe(24)})
    await attack("an error beside a good code", {"error": "access_denied"})
    attempt = await Attempt.begin(app, provider)
    twice = urlencode([*attempt.answer().items(), ("state", attempt.query.get("state", ""))])
    _refused(trial, "the state twice", *await attempt.callback(twice))


async def _replays(app: Target, provider: HostileProvider, trial: Trial) -> None:
    """Good answers in the wrong place: used before, of another sign-in, in another browser."""
    attempt = await Attempt.begin(app, provider)
    # A provider that takes a code twice: refusing a replay must be the app's own doing.
    answer = attempt.answer(Lie(pkce=False))
    await attempt.callback(answer)
    _refused(trial, "the same callback a second time, with the same cookie", *await attempt.callback(answer))
    await _race(app, provider, trial)

    for name, lie in {
        "the code of another sign-in": Lie(),
        "the code of another sign-in, at a provider that ignores PKCE": Lie(pkce=False),
    }.items():
        mine, victim = await Attempt.begin(app, provider), await Attempt.begin(app, provider)
        injected = {**victim.answer(), "code": mine.answer(lie)["code"]}
        _refused(trial, name, *await victim.callback(injected))

    attempt = await Attempt.begin(app, provider)
    stranger = Attempt(app, provider, attempt.query, [])
    _refused(trial, "a good callback in another browser", *await stranger.callback(attempt.answer()))


async def _race(app: Target, provider: HostileProvider, trial: Trial) -> None:
    """The same callback at the same moment, at a provider that takes its code any number of times."""
    attempt = await Attempt.begin(app, provider)
    answer, clients = attempt.answer(Lie(pkce=False)), [app.anonymous() for _ in range(RACERS)]
    answers = await asyncio.gather(*(attempt.callback(answer, client) for client in clients))
    count = sum(signed_in for _, signed_in in answers)
    trial.allow("a callback, sent several times at once, signs in", f"{count} of {RACERS}", ok=count > 0, of="race")
    trial.refuse(
        "it does so more than once", f"{count} of {RACERS}", ok=count <= 1, expected=f"1 of {RACERS}", of="race"
    )


async def _strangers(app: Target, provider: HostileProvider, trial: Trial, persona: Persona) -> None:
    """People whom the provider knows and the app does not."""
    for name, claims in {
        "an unknown subject": {"email": None},
        "an unknown subject with a linked account's address": {"email": persona.login, "email_verified": True},
        "an unknown subject with an unverified address": {"email": persona.login, "email_verified": False},
        "an unknown subject verified by the word true": {"email": persona.login, "email_verified": "true"},
    }.items():
        attempt = await Attempt.begin(app, provider)
        lie = Lie(lambda told, extra=claims: {**told, **extra})  # type: ignore[misc]
        response, signed_in = await attempt.callback(attempt.answer(lie, subject=secrets.token_hex(8)))
        _refused(trial, name, response, signed_in)


async def _logout(app: Target, provider: HostileProvider, trial: Trial) -> None:
    """A session that the provider vouched for ends at its word, at nobody else's, and not at an old one's."""

    attempt = await Attempt.begin(app, provider)
    await attempt.callback(attempt.answer())
    await try_logout(app, provider, trial, app.session_token(await app.client()), SUBJECT)


def _refused(trial: Trial, name: str, response: httpx2.Response, signed_in: bool) -> None:
    observed = f"{response.status_code}, {'signed in' if signed_in else 'not signed in'}"
    ok = not signed_in and 400 <= response.status_code < 500
    trial.refuse(name, observed, ok=ok, expected="4xx and not signed in", artifact=response)


# -- the embedded provider -----------------------------------------------------------------------------------------


async def _embedded(target: Target, trial: Trial) -> None:
    """Attack the app's own provider, if it has one."""
    embedded = await Embedded.find(target)
    if embedded is None:
        return
    shown = await embedded.page(embedded.query())
    trial.allow("the embedded provider shows its form", shown, of="embedded")
    changes: dict[str, dict[str, str | None]] = {
        "without PKCE": {"code_challenge": None, "code_challenge_method": None},
        "with PKCE plain": {"code_challenge_method": "plain"},
        "with a challenge and no method (means plain)": {"code_challenge_method": None},
        "with an unregistered redirect address": {"redirect_uri": "https://evil.example/cb"},
        "with a redirect address that only begins alike": {"redirect_uri": f"{embedded.asked['redirect_uri']}/x"},
        "for an unknown client": {"client_id": "nobody"},
        "for a token in the address (implicit flow)": {"response_type": "token"},
    }
    for name, change in changes.items():
        for what, send in (("asked", embedded.page), ("answered", embedded.log_in)):
            response = await send(embedded.query(change))
            code = "code=" in response.headers.get("location", "")
            trial.refuse(
                f"embedded provider, {what} {name}",
                f"{response.status_code}{' with a code' if code else ''}",
                ok=not code and 400 <= response.status_code < 500,
                expected="4xx and no code",
                artifact=response,
                of="embedded",
            )
    await _codes(embedded, trial)


async def _codes(embedded: Embedded, trial: Trial) -> None:
    verifier, other = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    raced = await embedded.code(verifier)
    answers = await asyncio.gather(*(embedded.redeem(raced, verifier) for _ in range(RACERS)))
    given = sum(answer.is_success for answer in answers)
    code = await embedded.code(verifier)
    trial.allow("a code with its verifier", await embedded.redeem(code, verifier), of="embedded-code")
    told = f"{given} of {RACERS}"
    trial.refuse("a code several times at once", told, ok=given <= 1, expected="one at the most", of="embedded-code")
    evil = "https://evil.example/cb"
    for name, response in {
        "the same code a second time": await embedded.redeem(code, verifier),
        "a code with a wrong verifier": await embedded.redeem(await embedded.code(verifier), other),
        "a code without a verifier": await embedded.redeem(await embedded.code(verifier), ""),
        "a code with another redirect address": await embedded.redeem(
            await embedded.code(verifier), verifier, redirect_uri=evil
        ),
        "a code of another client": await embedded.redeem(await embedded.code(verifier), verifier, client_id="nobody"),
    }.items():
        trial.refuse(name, response, statuses={400, 401, 403}, of="embedded-code")
