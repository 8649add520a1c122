"""Every answer carries headers that tell the browser to be strict

Why
    A browser runs, frames, sniffs, caches and leaks whatever the headers do not forbid. A Content-Security-Policy
    with a fresh nonce turns an injected script from an account takeover into a line in the console; HSTS keeps the
    first plain-HTTP request from ever being sent; `no-store` keeps a shared computer from remembering.
How it is attacked
    HTML pages of every role, JSON, redirects, static files and error answers (404, 405, 401, 422, 413, a cross-site
    refusal) are fetched and their headers parsed, not searched: one policy, no `unsafe-*`, no wildcard or scheme as a
    source, a nonce of at least 128 bits that differs on each of 20 fetches, every script element carrying it, no
    inline handler in any page. A foreign and a `null` origin must not be allowed to read anything.
How to fix
    Let `seawall.web` set the headers: do not serve the app's inner ASGI app, and do not strip headers in a proxy.
    Inline scripts and `style=` attributes belong into files.
"""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import httpx2

from seawall_check.control import Control
from seawall_check.controls._calls import pages, reads
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="web/headers",
    title="Every answer carries headers that tell the browser to be strict",
    refs=("ASVS 3.4.1", "ASVS 3.4.2", "ASVS 3.4.3", "ASVS 3.4.4", "ASVS 3.4.5", "ASVS 3.4.6", "ASVS 14.3.2"),
)

NONCE_BITS_MIN = 128
NONCE_FETCHES = 20
HSTS_AGE_MIN_S = 31_536_000
REFERRER_STRICT = {"no-referrer", "same-origin", "strict-origin", "strict-origin-when-cross-origin"}
FEATURES_DENIED = ("camera", "microphone", "geolocation", "payment", "usb")
_NONCE = re.compile(r"'nonce-([A-Za-z0-9+/_=-]+)'\Z")
_BROAD = {"*", "http:", "https:", "data:", "blob:", "filesystem:", "ws:", "wss:"}


class Scripts(HTMLParser):
    """Script elements with their nonces, and everything inline that a policy would have to be loosened for."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.nonces: list[str] = []
        self.inline: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "script":
            self.nonces.append(values.get("nonce", ""))
        for name, value in values.items():
            if (name.startswith("on") and len(name) > 2) or name == "style":
                self.inline.append(f"<{tag} {name}>")
            elif name in {"href", "src", "action", "formaction"} and value.strip().lower().startswith("javascript:"):
                self.inline.append(f"<{tag} {name}=javascript:>")


def parse_policy(policy: str) -> dict[str, list[str]]:
    """Directives by name; of two of one name the first counts (CSP 3 §2.2.1)."""
    parsed: dict[str, list[str]] = {}
    for part in policy.split(";"):
        words = part.split()
        if words:
            parsed.setdefault(words[0].lower(), words[1:])
    return parsed


def policy_faults(response: httpx2.Response) -> list[str]:
    """What is wrong with an answer's Content-Security-Policy."""
    sent = response.headers.get_list("content-security-policy")
    if len(sent) != 1:
        return [f"{len(sent)} Content-Security-Policy headers"]
    policy = parse_policy(sent[0])
    fallback = policy.get("default-src", ["*"])
    faults = []
    for name in ("script-src", "style-src", "object-src", "connect-src", "img-src", "frame-src", "worker-src"):
        sources = [source.lower() for source in policy.get(name, fallback)]
        faults += [f"{name} {source}" for source in sources if source.startswith("'unsafe-")]
        broad = _BROAD - {"data:"} if name == "img-src" else _BROAD
        faults += [f"{name} {source}" for source in sources if source in broad or source.startswith("*")]
    wanted = {"object-src": {"'none'"}, "base-uri": {"'none'", "'self'"}, "frame-ancestors": {"'none'", "'self'"}}
    for name, allowed in wanted.items():
        values = policy.get(name, fallback if name == "object-src" else [])
        if len(values) != 1 or values[0] not in allowed:
            faults.append(f"{name} is {' '.join(values) or 'missing'}")
    if "form-action" not in policy:
        faults.append("form-action is missing")
    return faults


def nonce_of(response: httpx2.Response) -> str:
    """The nonce of the policy's script-src; empty when there is none."""
    policy = parse_policy(response.headers.get("content-security-policy", ""))
    for source in policy.get("script-src", policy.get("default-src", [])):
        if found := _NONCE.match(source):
            return found[1]
    return ""


def nonce_bits(nonce: str) -> int:
    """How many bits a nonce could carry at most, decoded as base64; 0 when it is not that."""
    padded = nonce.replace("-", "+").replace("_", "/")
    try:
        return 8 * len(base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True))
    except ValueError:
        return 0


def common_faults(response: httpx2.Response, *, https: bool, static: bool = False) -> list[str]:
    """What is wrong with the headers that every answer needs."""
    headers = response.headers
    faults = policy_faults(response)
    for name in ("strict-transport-security", "x-content-type-options", "referrer-policy"):
        if len(headers.get_list(name)) > 1:
            faults.append(f"{name} is sent twice")
    hsts = headers.get("strict-transport-security", "").lower()
    age = re.search(r"max-age=\"?(\d+)", hsts)
    if https and (age is None or int(age[1]) < HSTS_AGE_MIN_S or "includesubdomains" not in hsts):
        faults.append(f"strict-transport-security: {hsts or 'missing'}")
    exact = {
        "x-content-type-options": {"nosniff"},
        "x-frame-options": {"DENY", "SAMEORIGIN"},
        "cross-origin-opener-policy": {"same-origin"},
        "cross-origin-resource-policy": {"same-origin", "same-site"},
        "referrer-policy": REFERRER_STRICT,
    }
    faults += [
        f"{name}: {headers.get(name, 'missing')}" for name, good in exact.items() if headers.get(name) not in good
    ]
    permissions = headers.get("permissions-policy", "").replace(" ", "")
    faults += [f"permissions-policy leaves {one} open" for one in FEATURES_DENIED if f"{one}=()" not in permissions]
    if not static and "no-store" not in headers.get("cache-control", ""):
        faults.append(f"cache-control: {headers.get('cache-control', 'missing')}")
    faults += [f"{name}: {headers[name]}" for name in ("server", "x-powered-by") if headers.get(name)]
    return faults


async def check(target: Target, trial: Trial) -> None:
    https = target.base_url.startswith("https:")
    await _pages(target, trial, https=https)
    await _data(target, trial, https=https)
    await _errors(target, trial, https=https)
    await _foreign(target, trial)


def _judge(trial: Trial, what: str, response: httpx2.Response, *, https: bool, static: bool = False) -> None:
    faults = common_faults(response, https=https, static=static)
    trial.expect(
        f"{what} ({response.status_code})",
        expected="a strict policy, HSTS, nosniff, no framing, COOP, CORP, no-store",
        observed="; ".join(faults) or "all of them",
        ok=not faults,
        artifact=response,
    )


async def _pages(target: Target, trial: Trial, *, https: bool) -> None:
    roles = sorted({persona.role for persona in target.personas})
    clients = [("nobody", await target.client())]
    clients += [(role, await target.client(target.who(role=role)[0])) for role in roles]
    static: set[str] = set()
    for role, client in clients:
        found = await pages(target, client, at_most=12)
        trial.allow(
            f"pages that {role} reaches by links", f"{len(found)} pages", ok=bool(found), expected="at least one"
        )
        for response in found:
            path = response.url.path
            static |= set(re.findall(r"""(?:src|href)=["'](/[^"'/][^"']*\.(?:css|js|svg)[^"']*)["']""", response.text))
            _judge(trial, f"{role} reads the page {path}", response, https=https)
            scripts = Scripts(response.text)
            nonce = nonce_of(response)
            strangers = [one for one in scripts.nonces if one != nonce or not nonce]
            trial.expect(
                f"{role}'s page {path} holds nothing inline and every script has the nonce",
                expected="none inline, all with the nonce",
                observed=f"{len(strangers)} scripts without it, inline: {', '.join(scripts.inline[:5]) or 'none'}",
                ok=not strangers and not scripts.inline,
            )
    await _nonces(trial, clients[0][1])
    client = clients[0][1]
    for path in sorted(static)[:10]:
        _judge(trial, f"the file {path.partition('?')[0]}", await client.get(path), https=https, static=True)


async def _nonces(trial: Trial, client: httpx2.AsyncClient) -> None:
    answers = [
        await client.get("/", headers={"Accept": "text/html"}, follow_redirects=True) for _ in range(NONCE_FETCHES)
    ]
    nonces = [nonce_of(answer) for answer in answers]
    least = min(nonce_bits(nonce) for nonce in nonces)
    trial.expect(
        f"the nonce on {NONCE_FETCHES} fetches of one page",
        expected=f"{NONCE_FETCHES} different ones of at least {NONCE_BITS_MIN} bits",
        observed=f"{len(set(nonces))} different, the shortest of {least} bits",
        ok=len(set(nonces)) == NONCE_FETCHES and least >= NONCE_BITS_MIN,
    )


async def _data(target: Target, trial: Trial, *, https: bool) -> None:
    for call in reads(target)[:8]:
        response = await call.send(await target.client(call.persona))
        if trial.allow(f"{call.persona.name} calls {call.operation.name}", response):
            _judge(trial, f"JSON of {call.operation.name}", response, https=https)


async def _errors(target: Target, trial: Trial, *, https: bool) -> None:
    client = await target.client(target.personas[0])
    nobody = await target.client()
    html = {"Accept": "text/html"}
    _judge(trial, "an address that does not exist, as JSON", await client.get("/no/such/thing"), https=https)
    _judge(
        trial,
        "an address that does not exist, as a page",
        await client.get("/no/such/thing", headers=html),
        https=https,
    )
    _judge(trial, "a method that is not allowed", await client.delete(target.document.openapi_path), https=https)
    for call in reads(target)[:1]:
        _judge(trial, f"{call.operation.name} without a session", await call.send(nobody), https=https)
        refused = await nobody.get(call.operation.url(call.values), headers=html)
        _judge(trial, f"{call.operation.name} without a session, as a page", refused, https=https)
    huge = await client.post("/no/such/thing", content=b"x" * 4_000_000, headers={"Content-Type": "application/json"})
    _judge(trial, "a body over the limit", huge, https=https)
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    _judge(
        trial, "a change from another site", await client.post("/no/such/thing", json={}, headers=foreign), https=https
    )


async def _foreign(target: Target, trial: Trial) -> None:
    for call in reads(target)[:3]:
        client = await target.client(call.persona)
        for origin in ("https://evil.example", "null"):
            response = await call.send(client, headers={"Origin": origin, "Sec-Fetch-Site": "cross-site"})
            granted = response.headers.get("access-control-allow-origin", "")
            trial.expect(
                f"a page of {origin} reads {call.operation.name}",
                expected="no Access-Control-Allow-Origin",
                observed=granted or "none",
                ok=not granted,
                artifact=response,
            )
