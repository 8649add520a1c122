"""Access tokens are short-lived, bound to the client's key, and nothing that only looks like one is taken.

Why
    An API checks tokens, not people. A verifier that takes `none`, a key that the token brings along, an ID token, a
    text as `exp` or a lifetime of ten years lets in whoever can write JSON; a token that works without its client's key
    works for whoever has read a log.
How it is attacked
    The judge signs in as an API client (code flow, PKCE, DPoP). Its token is then altered, unsigned, signed with the
    public key as a secret and with keys of its own. Through a signing key that it plants in the scratch database it
    makes an honest token, which must be taken, and dozens of rightly signed ones, each wrong in one claim. The token is
    sent without a proof, and with proofs for another request, token, key or time, and a second time.
How to fix
    Let `seawall.identity` write and read the tokens. Declare `bearer("why")` only on routes whose clients cannot sign.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from seawall_check.control import Control
from seawall_check.controls.identity._api import signed_in, somebody
from seawall_check.errors import Unproven
from seawall_check.probes.oauth import JSON, Api, Asking, Key, b64, claims_of, dumps, header_of
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="identity/access-tokens",
    title="Access tokens live five minutes, are bound to a key, and are verified in every claim",
    refs=("ASVS 9.1.1", "ASVS 9.1.2", "ASVS 9.1.3", "ASVS 9.2.1", "ASVS 9.2.4", "ASVS 10.3.5", "RFC 9068", "RFC 8725",
          "RFC 9449"),
    timeout_s=240,
)  # fmt: skip

LIFETIME_MAX_S = 300
ALGORITHMS = {"ES256", "EdDSA", "Ed25519"}
CLAIMS = {"iss", "aud", "sub", "client_id", "exp", "iat", "jti"}
REFUSED = {401}
"""Any error of verification is a 401, and never a 500."""
RACERS = 6


async def check(target: Target, trial: Trial) -> None:
    persona = somebody(target)
    api, browser = await signed_in(target, persona)
    me = target.sign_in.me
    first = await api.get(me)
    trial.allow("the API with a token and its proof", first)
    about = first.json() if first.status_code == 200 else {}
    same = about.get("user_id") == persona.user_id
    trial.expect("it is the person who agreed", expected=persona.user_id, observed=about.get("user_id"), ok=same)
    await _said(target, trial, api)
    await _forged(trial, api, me)
    colleague = next((who for who in target.who(tenant=persona.tenant) if who.name != persona.name), None)
    theirs = (await signed_in(target, colleague))[0] if colleague else None
    await _claims(target, trial, api, str(claims_of(theirs.access_token).get("sub")) if theirs else None)
    await _proofs(trial, api, me)
    await _stale(target, trial, api, browser)
    cookie = {"Cookie": f"{target.sign_in.session_cookie}={target.session_token(browser)}"}
    trial.allow("the cookie alone", await target.anonymous().get(me, headers={**JSON, **cookie}), of="both")
    trial.refuse("a cookie beside a token", await api.get(me, headers=cookie), statuses={400, 401}, of="both")


async def _stale(target: Target, trial: Trial, api: Api, browser: httpx2.AsyncClient) -> None:
    """A stolen cookie: its person signed in an hour ago. A grant from it would outlive it by weeks."""
    token = hashlib.sha256(target.session_token(browser).encode()).digest()
    aged = "UPDATE seawall.sessions SET authenticated_at = authenticated_at - make_interval(hours => $2)"
    trial.allow("a person who has just signed in lets an app in", "tokens were given", ok=True, of="stale")
    async with target.db_owner() as db:
        await db.execute(f"{aged} WHERE token_hash = $1", token, 1)
        try:
            answer = (await Asking(api).consent(browser)).keys()
        except Unproven as refused:
            answer = {str(refused): ""}.keys()
        await db.execute(f"{aged} WHERE token_hash = $1", token, -1)
    given = ", ".join(sorted(answer))
    trial.refuse("with a session of an hour ago", given, ok="code" not in answer, expected="no code", of="stale")


async def _said(target: Target, trial: Trial, api: Api) -> None:
    """What the app's own token says, and whether its key is published."""
    header, claims = header_of(api.access_token), claims_of(api.access_token)
    lifetime = claims.get("exp", 0) - claims.get("iat", 0)
    trial.expect(
        "the header is that of an access token (RFC 9068 §2.1)",
        expected="typ at+jwt, an asymmetric alg, a kid",
        observed=f"typ {header.get('typ')}, alg {header.get('alg')}, kid {'given' if header.get('kid') else 'missing'}",
        ok=header.get("typ") == "at+jwt" and header.get("alg") in ALGORITHMS and bool(header.get("kid")),
    )
    trial.expect(
        "it lives five minutes at most",
        expected=f"at most {LIFETIME_MAX_S} s",
        observed=f"{lifetime} s",
        ok=0 < lifetime <= LIFETIME_MAX_S,
    )
    missing = sorted(CLAIMS - claims.keys())
    trial.expect("it has every claim of RFC 9068 §2.2", expected="0 missing", observed=f"{missing}", ok=not missing)
    bound = (claims.get("cnf") or {}).get("jkt")
    key = api.key.thumbprint if api.key else ""
    trial.expect("it is bound to the client's key", expected="cnf.jkt of it", observed=f"{bound}", ok=bound == key)
    published = await target.anonymous().get(str(api.metadata.get("jwks_uri", "")), headers=JSON)
    keys = published.json().get("keys", []) if published.status_code == 200 else []
    named = [one for one in keys if one.get("kid") == header.get("kid")]
    private = [name for one in keys for name in ("d", "k", "p", "q") if name in one]
    trial.expect(
        "its key is published, its private half is not",
        expected="one key of this kid, public",
        observed=f"{len(named)} of this kid, {len(private)} private members",
        ok=len(named) == 1 and not private,
    )


async def _forged(trial: Trial, api: Api, me: str) -> None:
    """Tokens that need no key of the app. The proof is always right for the token that is sent."""
    token = api.access_token
    head, body, signature = token.split(".")
    header, claims, stranger = header_of(token), claims_of(token), Key.fresh()
    published = (await api.http.get(str(api.metadata["jwks_uri"]), headers=JSON)).json()["keys"]
    public: Any = next((one for one in published if one.get("kid") == header.get("kid")), {})

    def said(**changes: Any) -> str:
        return f"{b64(dumps({**header, **changes}))}.{body}"

    def mac(secret: bytes) -> str:
        text = said(alg="HS256")
        return f"{text}.{b64(hmac.digest(secret, text.encode(), 'sha256'))}"

    altered = b64(dumps({**claims, "sub": str(uuid.uuid4())}))
    forged = {
        "altered claims": f"{head}.{altered}.{signature}",
        "alg none": f"{said(alg='none')}.",
        "alg none with the signature": f"{said(alg='none')}.{signature}",
        "alg nOnE": f"{said(alg='nOnE')}.",
        "HS256 with the public key as the secret": mac(dumps(public)),
        "HS256 with an empty secret": mac(b""),
        "our kid, signed with another key": stranger.sign(header, claims),
        "a key of its own in the header": stranger.sign({**header, "kid": "x", "jwk": stranger.jwk}, claims),
        "our kid and a key of its own in the header": stranger.sign({**header, "jwk": stranger.jwk}, claims),
        "a key at another address": stranger.sign({**header, "jku": "https://evil.example/jwks"}, claims),
        "a certificate of its own": stranger.sign({**header, "x5c": ["MIIB"]}, claims),
        "an unknown kid": stranger.sign({**header, "kid": stranger.thumbprint}, claims),
        "no kid": stranger.sign({name: header[name] for name in ("alg", "typ")}, claims),
        "a signature of zeros": f"{head}.{body}.{b64(bytes(64))}",
        "no signature": f"{head}.{body}.",
        "two parts": f"{head}.{body}",
        "the refresh token": api.refresh_token,
        "nonsense": "x.y.z",
        "an opaque text": secrets.token_urlsafe(32),
    }
    await _all_refused(trial, api, me, forged, "forged")


async def _claims(target: Target, trial: Trial, api: Api, colleague: str | None) -> None:
    """Tokens that are rightly signed, by a key that the judge has planted, and wrong in one thing.

    Args:
        colleague: the `sub` of somebody else's token of the same client.
    """
    me = target.sign_in.me
    if not target.api.plant_key:
        raise Unproven("target.json names no api.plant_key: rightly signed wrong tokens cannot be tried")
    key = Key.fresh()
    kid = key.thumbprint
    jwk = {**key.jwk, "kid": kid, "use": "sig", "alg": "ES256"}
    async with target.db_owner() as db:
        await db.execute(target.api.plant_key, kid, json.dumps(jwk))
    await asyncio.sleep(1.2)  # an app that looks for unknown keys should not do so at every token
    own = {**claims_of(api.access_token), "jti": str(uuid.uuid4())}
    header = {**header_of(api.access_token), "kid": kid}

    def signed(head: Mapping[str, Any] | None = None, **changes: Any) -> str:
        said = {name: value for name, value in {**own, **changes}.items() if value is not None}
        return key.sign({**header, **(head or {})}, said)

    text, now = json.dumps(own)[:-1].encode(), int(time.time())
    own_header = json.dumps(header)[:-1].encode()
    cases = {f"no {name}": signed(**{name: None}) for name in ("iss", "aud", "exp", "sub", "jti", "iat")}
    cases |= {
        "another issuer": signed(iss="https://evil.example"),
        "the issuer with a slash": signed(iss=f"{own['iss']}/"),
        "the issuer in a list": signed(iss=[own["iss"]]),
        "another audience": signed(aud="https://other.example"),
        "one audience of several": signed(aud=["https://other.example", own["aud"]]),
        "over since a minute": signed(iat=now - 200, nbf=now - 200, exp=now - 60),
        "not valid yet": signed(nbf=now + 120, iat=now + 120, exp=now + 200),
        "a lifetime of ten years": signed(exp=now + 315_360_000),
        "a lifetime of ten minutes": signed(exp=own["iat"] + 600),
        "exp as a text": signed(exp=str(own["exp"])),
        "exp as true": signed(exp=True),
        "exp as infinity": key.sign(header, text + b',"x":Infinity}'),
        "a claim twice": key.sign(header, text + b',"sub":"' + str(uuid.uuid4()).encode() + b'"}'),
        "another person": signed(sub=str(uuid.uuid4())),
        "another grant": signed(sid=str(uuid.uuid4())),
        "an older epoch": signed(epoch=0),
        "an unknown confirmation": signed(cnf={"x5t#S256": b64(bytes(32))}),
        "an array": key.sign(header, b"[]"),
        "no JSON": key.sign(header, b"{"),
        "nested deeply": key.sign(header, text + b',"a":' + b"[" * 900 + b"]" * 900 + b"}"),
        "an ID token (typ JWT)": signed({"typ": "JWT"}),
        "a logout token": signed({"typ": "logout+jwt"}),
        "a proof (typ dpop+jwt)": signed({"typ": "dpop+jwt"}),
        "an unknown critical header": signed({"crit": ["x"], "x": 1}),
        "a header twice": key.sign(own_header + b',"alg":"none"}', own),
    }
    if colleague is not None:
        cases["a colleague, as this client knows them"] = signed(sub=colleague)
    trial.allow("an honest token of the planted key", await api.get(me, token=signed()), of="claims")
    await _all_refused(trial, api, me, cases, "claims")
    unbound = await api.get(me, token=signed(cnf=None), scheme="Bearer")
    trial.refuse("a token that is bound to no key", unbound, statuses=REFUSED, of="claims")


async def _all_refused(trial: Trial, api: Api, me: str, tokens: Mapping[str, str], of: str) -> None:
    trial.allow("the app's own token", await api.get(me), of=of)
    for name, token in tokens.items():
        trial.refuse(name, await api.get(me, token=token), statuses=REFUSED, of=of)
    trial.allow("the app's own token after all of that", await api.get(me), of=of)


@dataclass(frozen=True)
class Proofs:
    """Proofs that are wrong in one thing."""

    api: Api
    path: str

    def made(self, **changes: Any) -> str:
        return self.api.proof("GET", self.path, **changes)

    def wrong(self) -> dict[str, str]:
        api, key = self.api, self.api.key or Key.fresh()
        url, now = api.origin + self.path, int(time.time())
        claims = {
            "another method": {"htm": "POST"},
            "another address": {"htu": f"{api.origin}/elsewhere"},
            "another host": {"htu": f"https://evil.example{self.path}"},
            "another token": {"ath": b64(bytes(32))},
            "no token": {"ath": None},
            "no jti": {"jti": None},
            "no iat": {"iat": None},
            "a time 90 s ago": {"iat": now - 90},
            "a time 90 s from now": {"iat": now + 90},
            "an invented nonce": {"nonce": secrets.token_urlsafe(18)},
            "no nonce": {"nonce": None},
        }
        headers = {
            "the typ of a token": {"typ": "at+jwt"},
            "the private key in it": {"jwk": key.private_jwk},
            "another key in it": {"jwk": Key.fresh().jwk},
            "alg none": {"alg": "none"},
        }
        made = {f"a proof with {name}": self.made(claims=change) for name, change in claims.items()}
        made |= {f"a proof with {name}": self.made(header=change) for name, change in headers.items()}
        other = Key.fresh().proof("GET", url, access_token=api.access_token, nonce=api.nonce)
        return {**made, "a proof by another key": other, "a proof that is none": "x.y.z"}


async def _proofs(trial: Trial, api: Api, me: str) -> None:
    proofs = Proofs(api, me)
    trial.allow("an honest proof", await api.get(me, proof=proofs.made()), of="proof")
    for name, proof in proofs.wrong().items():
        trial.refuse(name, await api.get(me, proof=proof), statuses=REFUSED, of="proof")
    trial.refuse("no proof", await api.get(me, scheme="DPoP"), statuses=REFUSED, of="proof")
    trial.refuse("the token as a bearer token", await api.get(me, scheme="Bearer"), statuses=REFUSED, of="proof")
    headers = [("Authorization", f"DPoP {api.access_token}"), ("DPoP", proofs.made()), ("DPoP", proofs.made())]
    twice = await api.http.get(me, headers=[*JSON.items(), *headers])
    trial.refuse("two proofs", twice, statuses={400, 401}, of="proof")
    proof = proofs.made()
    trial.allow("a proof the first time", await api.get(me, proof=proof), of="replay")
    trial.refuse("the same proof again", await api.get(me, proof=proof), statuses=REFUSED, of="replay")
    proof = proofs.made()
    answers = await asyncio.gather(*(api.get(me, proof=proof) for _ in range(RACERS)))
    _once(trial, answers)


def _once(trial: Trial, answers: list[httpx2.Response]) -> None:
    done = [answer for answer in answers if answer.is_success]
    trial.refuse(
        "one proof several times at the same moment",
        f"{len(done)} of {RACERS} succeeded",
        ok=len(done) == 1,
        expected=f"1 of {RACERS}",
        artifact="\n".join(str(answer.status_code) for answer in answers),
        of="replay",
    )
