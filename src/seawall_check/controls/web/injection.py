"""What callers send stays data: in SQL, pages, redirects, headers, templates and logs

Why
    Injection is one mistake in many languages: text from outside becomes part of a statement. In SQL it reads another
    table, in a page it runs as the reader, in a redirect it sends people to a copy of the sign-in page, in a log it
    hides what happened.
How it is attacked
    Quotes, comments, `UNION`, stacked statements and `pg_sleep` in every path, query and body string of every
    operation: no 500, no sleep, no statement run, and what was stored is exactly what was sent. Markup, event
    handlers and template expressions are stored in every free text and looked for on the pages that show them:
    escaped, never evaluated. `next` of sign-in is pointed at other hosts in a dozen spellings. Line ends and terminal
    codes are sent in paths, queries and bodies, and the log is read: no line may begin with what a caller wrote.
How to fix
    Bound parameters only; templates through `page()`, which escapes; redirects to paths of our own; structured logs.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import httpx2

from seawall_check.control import Control
from seawall_check.controls._calls import Call, calls, leaks, mark, pages, rows_with, writes
from seawall_check.sign_in import Page, sign_in
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="web/injection",
    title="What callers send stays data: in SQL, pages, redirects, headers, templates and logs",
    refs=("ASVS 1.2.1", "ASVS 1.2.2", "ASVS 1.2.4", "ASVS 1.2.5", "ASVS 1.3.7", "ASVS 16.4.1"),
    timeout_s=240,
)

SLEEP_S = 3.0
SLEEP_REPEATS = 2
OPERATIONS_MAX = 40
EVIL_HOST = "evil.example"


def sql_payloads(word: str) -> list[str]:
    """Text that changes a statement it is pasted into; `word` makes a canary table's name."""
    return [
        "'",
        "x' OR '1'='1",
        "x') OR 1=1 -- ",
        "x' UNION SELECT NULL,NULL,NULL -- ",
        f"x'; CREATE TABLE public.{word}(a int); -- ",
        f"x' || (SELECT pg_sleep({SLEEP_S:g}))::text || '",
        f"1;SELECT pg_sleep({SLEEP_S:g}) -- ",
        "\\' OR 1=1 -- ",
        "$$; SELECT 1; $$",
    ]


def markup_payloads(word: str) -> list[str]:
    """Text that runs in a page or a template it is pasted into; each holds `word`."""
    return [
        f"<script>{word}()</script>",
        f'"><img src=x onerror={word}()>',
        f"' onmouseover='{word}()",
        f"{word}{{{{7*191}}}}{{% if 1 %}}",
        f"{word}${{7*191}}<%= 7*191 %>#{{7*191}}",
        f"</textarea></title><svg/onload={word}()>",
    ]


async def check(target: Target, trial: Trial) -> None:
    await _sql(target, trial)
    await _markup(target, trial)
    await _redirects(target, trial)
    await _lines(target, trial)


# ---- SQL ---------------------------------------------------------------------------------------------------------


def _with_payload(call: Call, payload: str) -> Iterator[tuple[str, Call, dict[str, str]]]:
    """The call with `payload` in one place at a time: what that place is, the call, its query."""
    operation = call.operation
    for name in operation.path_names:
        yield f"path {name}", replace(call, values={**call.values, name: payload}), {}
    for parameter in operation.query:
        yield f"query {parameter['name']}", call, {str(parameter["name"]): payload}
    if isinstance(call.body, dict):
        for name, value in call.body.items():
            if isinstance(value, str):
                yield f"body {name}", replace(call, body={**call.body, name: payload}), {}


async def _sql(target: Target, trial: Trial) -> None:
    word = mark()
    step_up = target.expectations.get("step_up", {}).get("route", "")
    found = [call for call in calls(target) if call.operation.name != step_up][:OPERATIONS_MAX]
    tried = 0
    for call in found:
        client = await target.client(call.persona)
        of = call.operation.name
        if call.operation.safe:
            trial.allow(
                f"{call.persona.name} calls {of}", await call.send(client), of=of, ok=None if call.stated else True
            )
        faults: list[str] = []
        places = set()
        for payload in sql_payloads(word):
            for place, attack, query in _with_payload(call, payload):
                places.add(place)
                tried += 1
                faults += [f"{place} {payload!r}: {fault}" for fault in await _attack(client, attack, query)]
        if places:
            trial.expect(
                f"SQL in {', '.join(sorted(places))} of {of}",
                expected="no 500, no leak, no sleep",
                observed="; ".join(faults[:3]) or "none",
                ok=not faults,
            )
    if not tried:
        trial.unproven("no operation takes a parameter")
    async with target.db_owner() as db:
        ran = await db.fetchval("SELECT count(*) FROM pg_class WHERE relname = $1", word)
    trial.expect("statements of ours that the database ran", expected="none", observed=f"{ran} tables", ok=ran == 0)


async def _attack(client: httpx2.AsyncClient, call: Call, query: dict[str, str]) -> list[str]:
    """What went wrong with one attack."""
    response, elapsed_s = await _timed(client, call, query)
    faults = [f"{response.status_code}"] if response.status_code >= 500 else []
    if response.status_code >= 400:
        faults += leaks(response.text)
    for _ in range(SLEEP_REPEATS):
        if elapsed_s < SLEEP_S:
            return faults
        # A busy machine is slow once; a database told to sleep is slow each time.
        _, elapsed_s = await _timed(client, call, query)
    return [*faults, f"it slept {elapsed_s:.1f} s"]


async def _timed(client: httpx2.AsyncClient, call: Call, query: dict[str, str]) -> tuple[httpx2.Response, float]:
    started_s = time.perf_counter()
    response = await call.send(client, query=query)
    return response, time.perf_counter() - started_s


# ---- Pages -------------------------------------------------------------------------------------------------------


async def _markup(target: Target, trial: Trial) -> None:
    word = mark()
    stored = 0
    readers = set()
    for call in writes(target):
        client = await target.client(call.persona)
        for name in call.free_strings():
            for payload in markup_payloads(word):
                response = await call.send(client, body={**call.body, name: payload})
                if response.status_code < 400:
                    stored += 1
                    readers.add(call.persona.tenant)
    rows = await rows_with(target, word)
    trial.allow("markup is stored as it was sent", f"{rows} rows", ok=rows > 0 and stored > 0, expected="some rows")
    shown = 0
    for persona in [one for one in target.personas if one.tenant in readers]:
        client = await target.client(persona)
        found = [page for page in await pages(target, client, at_most=30) if word in page.text]
        shown += len(found)
        for page in found:
            faults = markup_faults(page.text, word)
            trial.refuse(
                f"markup on the page {page.url.path} as {persona.name} sees it",
                "; ".join(faults) or "escaped",
                ok=not faults,
                expected="escaped, not evaluated",
                artifact=page,
            )
    trial.allow("pages that show the stored text", f"{shown} pages", ok=shown > 0, expected="at least one")


class _Live(HTMLParser):
    """Finds where a word is code or markup on a page, as a browser reads it, rather than text."""

    def __init__(self, html: str, word: str) -> None:
        super().__init__()
        self._word = word
        self._inside = ""
        self.faults: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag if tag in {"script", "style"} else ""
        for name, value in attrs:
            handler = name.startswith("on") or (value or "").strip().lower().startswith("javascript:")
            if self._word in name or (handler and self._word in (value or "")):
                self.faults.append(f"it is code in <{tag} {name[:20]}>")
        if self._word in tag:
            self.faults.append("it is an element's name")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside and self._word in data:
            self.faults.append(f"it is inside <{self._inside}>")


def markup_faults(html: str, word: str) -> list[str]:
    """Where `word` is more than text on a page."""
    faults = _Live(html, word.lower()).faults
    evaluated = re.search(rf"{word}[^<]{{0,12}}1337", html)
    return faults + (["a template expression was evaluated"] if evaluated else [])


# ---- Redirects and headers -----------------------------------------------------------------------------------------


def redirect_payloads() -> list[str]:
    """Addresses that leave the site, in the spellings that naive checks let through."""
    return [
        f"https://{EVIL_HOST}/",
        f"//{EVIL_HOST}/",
        f"///{EVIL_HOST}/",
        f"/\\{EVIL_HOST}/",
        f"\\\\{EVIL_HOST}/",
        f"/\t/{EVIL_HOST}/",
        f"https:{EVIL_HOST}",
        f"http:///{EVIL_HOST}",
        f"/%2f{EVIL_HOST}",
        f"//{EVIL_HOST}%2f@localhost/",
        f"@{EVIL_HOST}",
        "javascript:alert(1)",
        f"/x\r\nLocation: https://{EVIL_HOST}/",
        f"/x\r\nX-Injected: {EVIL_HOST}",
    ]


async def _redirects(target: Target, trial: Trial) -> None:
    how, persona = target.sign_in, target.personas[0]
    ours = await _trail(target, persona.name, "/?here=1")
    arrives = any("here=1" in step for step in ours)
    trial.allow("sign-in with next=/?here=1 leads there", ours[-1] if ours else "nowhere", ok=arrives, of="next")
    for payload in redirect_payloads():
        trail = await _trail(target, persona.name, payload)
        outside = [step for step in trail if _leaves(target.base_url, step)]
        trial.refuse(
            f"sign-in with next={payload!r}",
            outside[0] if outside else "stays here",
            ok=not outside,
            expected=f"every step stays on {urlsplit(how.start).path.split('/')[1]}'s own host",
            of="next",
        )


async def _trail(target: Target, persona: str, onward: str) -> list[str]:
    """Every address that signing in with `next` sends the browser to, and `injected` for a header of ours."""
    who = target.persona(persona)
    client = target.anonymous()
    trail: list[str] = []

    async def note(response: httpx2.Response) -> None:
        await response.aread()
        if "x-injected" in response.headers:
            trail.append(f"https://{EVIL_HOST}/ (injected header)")
        if location := response.headers.get("location"):
            trail.append(urljoin(str(response.url), location))
        elif "html" in response.headers.get("content-type", "") and (sent := Page(response.text).onward):
            trail.append(urljoin(str(response.url), sent))

    client.event_hooks["response"].append(note)
    joiner = "&" if "?" in target.sign_in.start else "?"
    start = f"{target.sign_in.start}{joiner}{httpx2.QueryParams({'next': onward})}"
    try:
        await sign_in(client, target.sign_in.model_copy(update={"start": start}), who)
    except Exception as error:  # refusing such a sign-in altogether is sound too
        trail.append(f"/refused ({type(error).__name__})")
    return trail


def _leaves(base_url: str, step: str) -> bool:
    """Whether a browser at our site would go elsewhere; browsers take a backslash for a slash and drop tabs."""
    address = urljoin(base_url, re.sub(r"[\t\r\n]", "", step).replace("\\", "/"))
    parts = urlsplit(address)
    return parts.scheme not in {"http", "https"} or parts.netloc != urlsplit(base_url).netloc


# ---- Logs ----------------------------------------------------------------------------------------------------------


async def _lines(target: Target, trial: Trial) -> None:
    word = mark()
    forged = f"x\r\n{word} [error] forged\x1b[31m\u2028{word} too"
    client = await target.client(target.personas[0])
    before = len(target.log())
    await client.get(f"/no/such/{word}", params={"q": forged}, headers={"User-Agent": f"{word} agent"})
    await client.get(f"/no/such%0d%0a{word}%20forged")
    await client.get(f"/no/such%E2%80%A8{word}%20forged")
    for call in writes(target):
        author = await target.client(call.persona)
        for name in call.free_strings():
            body = {**call.body, name: forged}
            await call.send(author, body=body, query={"q": forged})
            await call.send(author, body={**body, forged: forged})
    await asyncio.sleep(0.2)
    new = target.log()[before:]
    trial.allow("the app logs its requests", f"{len(new.splitlines())} lines", ok=bool(new.strip()), of="log")
    lines = [line for line in re.split(r"[\r\n\u2028\u2029\x85]", new) if line.lstrip().startswith(word)]
    trial.refuse(
        "log lines that begin with what a caller wrote", f"{len(lines)} lines", ok=not lines, expected="none", of="log"
    )
    coloured = "\x1b[31m" in new
    trial.refuse("terminal codes of a caller in the log", "there" if coloured else "none", ok=not coloured, of="log")
