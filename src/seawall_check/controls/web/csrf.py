"""Another site cannot make a signed-in browser change anything

Why
    A browser adds the cookie to a request whoever wrote the page that sends it. SameSite=Strict stops most of that,
    but knows only sites: a forgotten subdomain is the same site, and one wrong cookie attribute removes it. So a
    change must also prove that it began on a page of ours.
How it is attacked
    With a live session cookie, as a browser would send it and as a tampering one might: the same change from our own
    page (which must work), then with a foreign, lookalike, `null`, plain-HTTP and missing `Origin`, with
    `Sec-Fetch-Site` of cross-site, same-site and none, as a classic form and as `text/plain` that holds JSON, by
    method override headers and fields on a GET. What the change would have written is then looked for in the
    database. Signing in and out from another site are tried too.
How to fix
    Leave `seawall.web` outermost, and change nothing in GET handlers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import httpx2

from seawall_check.control import Control
from seawall_check.controls._calls import Call, mark, rows_with, writes
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="web/csrf",
    title="Another site cannot make a signed-in browser change anything",
    refs=("ASVS 3.5.1", "ASVS 3.5.2", "ASVS 3.5.3", "RFC 6454", "Fetch Metadata"),
)

REFUSED = frozenset({403})
EVIL = "https://evil.example"


def lookalikes(origin: str) -> list[str]:
    """Origins that a careless comparison takes for ours."""
    scheme, _, host = origin.partition("://")
    name, _, port = host.partition(":")
    return [
        EVIL,
        "null",
        f"{origin}.evil.example",
        f"{scheme}://evil-{host}",
        f"{scheme}://{name}.evil.example:{port or 443}",
        f"{scheme}://{name}:{int(port or 443) + 1}",
        f"http://{host}" if scheme == "https" else f"https://{host}",
        f"{scheme}://evil.example/{host}",
        f"{scheme}://{host}@evil.example",
    ]


def attacks(origin: str) -> list[tuple[str, dict[str, str]]]:
    """Header sets that no page of ours produces; an empty value leaves the header out."""
    found = [(f"Origin {other}", {"Origin": other, "Sec-Fetch-Site": ""}) for other in lookalikes(origin)]
    found += [
        (f"Sec-Fetch-Site {site}, Origin {other or 'missing'}", {"Origin": other, "Sec-Fetch-Site": site})
        for site in ("cross-site", "same-site", "none")
        for other in (EVIL, "", origin)
    ]
    found.append(("neither Origin nor Sec-Fetch-Site", {"Origin": "", "Sec-Fetch-Site": ""}))
    found.append(("Sec-Fetch-Site same-origin, Origin foreign", {"Origin": EVIL, "Sec-Fetch-Site": "same-origin"}))
    referer = {"Origin": "", "Sec-Fetch-Site": "", "Referer": f"{EVIL}/?{origin}/"}
    return [*found, ("only a Referer that mentions us", referer)]


async def check(target: Target, trial: Trial) -> None:
    found = [call for call in writes(target) if call.found_strings()]
    if not found:
        trial.unproven("no stated change takes free text, so none can be found again in the database")
    for call in found[:3]:
        await _change(target, trial, call)
    await _signing(target, trial)


def _marked(call: Call, word: str) -> dict[str, object]:
    name = call.found_strings()[0]
    return {**call.body, name: word}


async def _change(target: Target, trial: Trial, call: Call) -> None:
    client = await target.client(call.persona)
    name = call.operation.name
    good = mark()
    allowed = await call.send(client, body=_marked(call, good))
    written = await rows_with(target, good)
    if not trial.allow(f"{name} from our own page", allowed, of=name) or not trial.allow(
        f"{name} from our own page is in the database", f"{written} rows", ok=written > 0, expected="a row", of=name
    ):
        return
    bad = mark()
    for how, headers in attacks(target.base_url):
        response = await call.send(client, body=_marked(call, bad), headers=headers)
        trial.refuse(f"{name} with {how}", response, statuses=REFUSED, of=name)
    await _other_shapes(trial, call, client, bad)
    written = await rows_with(target, bad)
    trial.refuse(
        f"rows that the attacks on {name} wrote", f"{written} rows", ok=written == 0, expected="0 rows", of=name
    )


async def _other_shapes(trial: Trial, call: Call, client: httpx2.AsyncClient, word: str) -> None:
    """A form can send three content types without asking first, and some servers let a GET be overridden."""
    name, url = call.operation.name, call.operation.url(call.values)
    body = _marked(call, word)
    foreign = {"Origin": EVIL, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    form = {key: str(value) for key, value in body.items()}
    sent: list[tuple[str, Mapping[str, str], Mapping[str, object]]] = [
        ("a form", {**foreign, "Content-Type": "application/x-www-form-urlencoded"}, {"data": form}),
        ("text/plain holding JSON", {**foreign, "Content-Type": "text/plain"}, {"content": json.dumps(body)}),
        ("no content type", foreign, {"content": json.dumps(body)}),
    ]
    for how, headers, content in sent:
        response = await client.request(call.operation.method, url, headers=headers, **content)  # type: ignore[arg-type]
        trial.refuse(f"{name} from another site as {how}", response, statuses=REFUSED, of=name)
    plain = {"Content-Type": "text/plain", "Origin": "", "Sec-Fetch-Site": "same-origin"}
    response = await client.request(call.operation.method, url, headers=plain, content=json.dumps(body))
    trial.refuse(f"{name} as text/plain even from our own page", response, statuses={415}, of=name)
    method = call.operation.method
    for header in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        # A GET needs no proof, so an override would get around it. Only the database says whether it worked.
        await client.get(url, params={**form, "_method": method}, headers={**foreign, header: method})


async def _signing(target: Target, trial: Trial) -> None:
    how = target.sign_in
    foreign = {"Origin": EVIL, "Sec-Fetch-Site": "cross-site", "Accept": "text/html"}
    victim = await target.fresh(target.personas[0])
    me = {"Accept": "application/json"}
    trial.allow("a fresh session is alive", await victim.get(how.me, headers=me), of="sign-out")
    for path in filter(None, (how.sign_out, how.sign_out_everywhere)):
        trial.refuse(
            f"another site posts {path}", await victim.post(path, headers=foreign), statuses=REFUSED, of="sign-out"
        )
    still = await victim.get(how.me, headers=me)
    trial.refuse("the session is alive after that", still, ok=still.status_code == 200, expected="200", of="sign-out")
    if how.sign_out:
        answer = await victim.post(how.sign_out)
        over = await victim.get(how.me, headers=me)
        trial.expect(
            "signing out from our own page works",
            expected="the session is over",
            observed=f"{answer.status_code}, then {over.status_code}",
            ok=over.status_code == 401,
        )
