"""Logs, errors and the audit log hold no personal data, secrets, tokens or card numbers

Why
    Logs are copied to more places, read by more people and kept for longer than the database, and nobody can erase one
    person from them. What was never written there cannot leak from there.
How it is attacked
    A marked name, address, telephone number, card number and token are sent through every operation: in the path, the
    query, headers, a bearer token and every field of the body, well-formed and broken, and through the sign-in form.
    They are then looked for in the app's log, in the audit log and in every error that was answered. After that a copy
    of the app is started whose author was careless: it logs whole objects, people's data as fields and as arguments,
    addresses and cards in the middle of sentences, and lets exceptions escape that quote them, also from a background
    task and a thread.
How to fix
    Log ids, enumerations and numbers: `log.info("order paid", order_id=order.id)`. What a log line needs to say in
    words belongs into an `Enum`. A name inside of a sentence that your own code has put together is the one thing that
    no filter can recognise.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx2

from seawall_check.control import Control
from seawall_check.controls._marks import Marks, Sent, audit_text, send, sweep
from seawall_check.errors import DidNotStart
from seawall_check.sign_in import Page
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="privacy/redacted-telemetry",
    title="Logs, errors and the audit log hold no personal data, secrets, tokens or card numbers",
    refs=("ASVS 16.2.5", "ASVS 14.2.4", "PCI DSS 3.4"),
)

PLANTED = "seawall_check_careless"
WAYS = ("fields", "sentence", "library", "object", "raised", "task", "thread")
CARELESS = """
import asyncio, logging, threading
import structlog
from seawall import public

from {module} import {attribute} as app

WHY = [public("planted by the judge: an author who logs everything")]
NAME, MAIL, PHONE, CARD, TOKEN = {name!r}, {mail!r}, {phone!r}, {card!r}, {token!r}
log, library = structlog.get_logger("careless"), logging.getLogger("library")


class Customer:
    def __repr__(self):
        return f"Customer({{NAME}}, {{MAIL}}, {{CARD}})"


@app.get("/planted/{{way}}", dependencies=WHY)
async def careless(way: str):
    if way == "fields":
        log.info("careless-fields", customer=NAME, email=MAIL, phone=PHONE, card=CARD, note=TOKEN, number=int(CARD))
        log.info("careless-fields", people=[NAME, MAIL], order={{"name": NAME, "card": CARD}})
    elif way == "sentence":
        log.warning(f"careless-sentence to {{MAIL}}, call {{PHONE}}, card {{CARD}}, Authorization: Bearer {{TOKEN}}")
        library.warning(f"careless-sentence to {{MAIL}}, call {{PHONE}}, card {{CARD}}, token={{TOKEN}}")
    elif way == "library":
        library.warning("careless-library %s %s %s %s", NAME, MAIL, CARD, TOKEN)
        library.warning("careless-library %(who)s", {{"who": NAME}})
        library.warning("careless-library", extra={{"customer": NAME, "email": MAIL}})
    elif way == "object":
        log.warning("careless-object", customer=Customer())
        library.warning("careless-object %s", Customer())
    elif way == "raised":
        log.warning("careless-raised")
        raise ValueError(f"no such customer: {{NAME}} {{MAIL}} {{PHONE}} {{CARD}} {{TOKEN}}")
    elif way == "task":
        log.warning("careless-task")
        asyncio.get_running_loop().call_exception_handler(
            {{"message": "careless-task", "exception": ValueError(NAME + MAIL + CARD)}}
        )
    elif way == "thread":
        log.warning("careless-thread")
        def work():
            raise ValueError(NAME + MAIL + CARD + TOKEN)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    return {{"done": way}}
"""


async def check(target: Target, trial: Trial) -> None:
    marks = Marks.fresh()
    await _swept(target, trial, marks)
    await _signing_in(target, trial, marks)
    _search(trial, "the app's log", target.log(), marks, of="log")
    _search(trial, "the audit log", await audit_text(target), marks, of="audit")
    await _careless(target, trial)


async def _swept(target: Target, trial: Trial, marks: Marks) -> None:
    accepted, told, count = 0, [], 0
    before = len(target.log())
    for sent in sweep(target, marks):
        count += 1
        answer = await send(target, sent)
        accepted += answer.status_code < 400
        if answer.status_code >= 400 and (found := marks.within(answer.text + str(answer.headers))):
            told.append(f"{_name(sent)}: {', '.join(found)}")
    trial.allow(
        "marked values reach every operation", f"{count} requests, {accepted} of them accepted", ok=accepted > 0,
        of="errors",
    )  # fmt: skip
    grown = len(target.log()) - before
    trial.allow("the app logs those requests", f"{grown} characters", ok=grown > 0, of="log")
    events = await audit_text(target)
    trial.allow("the app audits those requests", f"{events.count(chr(10)) + 1} events", ok=bool(events), of="audit")
    trial.refuse(
        "marked values in errors", "; ".join(told[:5]) or "none", ok=not told, expected="none", of="errors",
        artifact="\n".join(told),
    )  # fmt: skip


def _name(sent: Sent) -> str:
    return f"{sent.call.operation.name} ({sent.where})"


async def _signing_in(target: Target, trial: Trial, marks: Marks) -> None:
    """The form that everybody can reach takes an address and a password from anyone."""
    client, form = target.anonymous(), target.sign_in
    page = await client.get(form.start, headers={"Accept": "text/html"}, follow_redirects=True)
    for found in Page(page.text).forms:
        if form.login_field in found.fields:
            fields = {**found.fields, form.login_field: marks.mail, form.password_field: marks.token}
            answer = await client.post(
                page.url.join(found.action), data=fields, headers={"Accept": "text/html", "User-Agent": marks.text}
            )
            trial.expect(
                "signing in with a marked address and password", expected="refused",
                observed=str(answer.status_code), ok=_is_refusal(answer),
            )  # fmt: skip
            return
    trial.unproven("there is no sign-in form to send marked values through")


def _is_refusal(answer: httpx2.Response) -> bool:
    return answer.status_code >= 400 or (answer.is_redirect and "callback" not in answer.headers.get("location", ""))


def _search(trial: Trial, where: str, text: str, marks: Marks, *, of: str) -> None:
    found = marks.within(text)
    trial.refuse(
        f"marked values in {where}", ", ".join(found) or "none", ok=not found, expected="none", of=of,
        artifact="\n".join(_lines(text, marks)),
    )  # fmt: skip


def _lines(text: str, marks: Marks) -> Iterator[str]:
    for line in text.splitlines():
        if marks.within(line):
            yield line[:500]


async def _careless(target: Target, trial: Trial) -> None:
    marks = Marks.fresh()
    whole = target.change.env.get("SEAWALL_APP__MODULE", target.config.app_module)
    module, _, attribute = whole.partition(":")
    source = CARELESS.format(module=module, attribute=attribute, **vars(marks))
    try:
        async with target.variant(
            plant={f"{PLANTED}.py": source}, env={"SEAWALL_APP__MODULE": f"{PLANTED}:app"}
        ) as variant:
            client = variant.anonymous()
            for way in WAYS:
                before = len(variant.log())
                answer = await client.get(f"/planted/{way}")
                wrote = variant.log()[before:]
                trial.allow(
                    f"a careless author's line ({way})", "written" if f"careless-{way}" in wrote else "not there",
                    ok=f"careless-{way}" in wrote, of=way,
                )  # fmt: skip
                _search(trial, f"the log, written by a careless author ({way})", wrote, marks, of=way)
                found = marks.within(answer.text)
                trial.expect(
                    f"marked values in the answer ({way})", expected="none", observed=", ".join(found) or "none",
                    ok=not found, artifact=answer,
                )  # fmt: skip
    except DidNotStart as refusal:
        trial.unproven(f"the careless copy of the app does not start: {refusal.text[-300:]}")
