"""The app's secrets appear in no log, error, audit event or dump

Why
    Most secrets are not stolen from where they are kept but from where they were written by the way: a debug line that
    prints the settings, an error page with the environment, a core file, the trace of a failed connection.
How it is attacked
    A copy of the app is started whose author prints everything: settings, environment, the vault's client, the identity
    and the database objects, each as `str`, as `repr` and as JSON, into the log, into exceptions and into an answer. A
    person signs in and enrols a second factor there, so that a session, a password, a TOTP secret and recovery codes
    exist; bearer tokens and cookies are sent that nobody knows. Then all real secrets of that app, asked of its vault,
    and all of these are looked for: in its log, in its answers, in the audit log, in what `seawall rotate` prints, in
    the files that it leaves behind, and in the size that a core file may have.
How to fix
    Keep secrets in `SecretStr` or in an object whose `repr` does not show them, ask the vault for them where they are
    used, and let exceptions escape to the wall.
"""

from __future__ import annotations

import re
import secrets

from seawall_check.control import Control
from seawall_check.controls._factor import JSON, begin_enrolment
from seawall_check.controls._marks import audit_text
from seawall_check.controls.secrets._vault import RealSecrets, files_of, process_text
from seawall_check.controls.secrets.rotation import start as start_rotation
from seawall_check.errors import DidNotStart, Unproven
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="secrets/never-logged",
    title="The app's secrets appear in no log, error, audit event or dump",
    refs=("ASVS 16.2.5", "ASVS 13.4.2", "ASVS 14.2.4"),
)

PLANTED = "seawall_check_talkative"
WAYS = ("log", "raise", "answer")
TALKATIVE = """
import json, logging, os
import structlog
from seawall import public

from {module} import {attribute} as app

WHY = [public("planted by the judge: an author who prints everything")]


def everything():
    sea = app.state.seawall
    found = [sea.settings, sea.settings.model_dump_json(), dict(os.environ), sea, vars(sea), sea.identity]
    inside = [getattr(sea.secrets, name, None) for name in ("vault", "master", "passwords")]
    for holder in (sea.secrets, sea._database, *inside):
        found += [holder, getattr(holder, "__dict__", None)]
    connection = getattr(getattr(sea.secrets, "vault", None), "connection", None)
    return [*found, connection, getattr(connection, "__dict__", None), getattr(connection, "_login", None)]


@app.get("/planted/{{way}}", dependencies=WHY)
async def talkative(way: str):
    things = everything()
    text = "\\n".join(f"{{thing!s}} {{thing!r}}" for thing in things if not isinstance(thing, dict) or way == "answer")
    if way == "log":
        for thing in things:
            structlog.get_logger("talkative").warning("talkative", thing=thing, reason=str(thing))
            logging.getLogger("talkative").warning("talkative %s %r", thing, thing)
        return {{"done": way}}
    if way == "raise":
        structlog.get_logger("talkative").warning("talkative")
        raise RuntimeError(text)
    return {{"everything": "\\n".join(f"{{thing!s}} {{thing!r}}" for thing in things[:5] if not isinstance(thing, dict))
             + repr(dict(os.environ))}}
"""


async def check(target: Target, trial: Trial) -> None:
    whole = target.change.env.get("SEAWALL_APP__MODULE", target.config.app_module)
    module, _, attribute = whole.partition(":")
    source = TALKATIVE.format(module=module, attribute=attribute)
    try:
        async with target.variant(
            plant={f"{PLANTED}.py": source}, env={"SEAWALL_APP__MODULE": f"{PLANTED}:app"}
        ) as variant:
            await _talkative(variant, trial)
    except DidNotStart as refusal:
        trial.unproven(f"the talkative copy of the app does not start: {refusal.text[-300:]}")


async def _talkative(variant: Target, trial: Trial) -> None:
    real = await RealSecrets.of(variant)
    real.values |= await _of_people(variant)
    real.values |= await _sent(variant)
    answers = {}
    for way in WAYS:
        answer = await variant.anonymous().get(f"/planted/{way}")
        answers[way] = answer.text
        reached = answer.status_code == (500 if way == "raise" else 200)
        trial.allow(f"a talkative author ({way})", f"{answer.status_code}", ok=reached, of=way)
        _search(trial, f"the answer ({way})", answer.text, real, of=way)
    log = variant.log()
    trial.allow("the author's lines are in the log", f"{log.count('talkative')} lines", ok="talkative" in log, of="log")
    _search(trial, "the app's log", log, real, of="log")
    events = await audit_text(variant)
    trial.allow("the audit log has events", f"{len(events)} characters", ok=bool(events), of="audit")
    _search(trial, "the audit log", events, real, of="audit")
    await _rotating(variant, trial, real)
    _left_behind(variant, trial, real)
    _core(variant, trial)


async def _of_people(variant: Target) -> dict[str, str]:
    """What a person has after signing in and enrolling: all of it is the server's to keep to itself."""
    persona = variant.personas[-1]
    client = await variant.fresh(persona)
    found = {"a session's token": variant.session_token(client)}
    try:
        authenticator = await begin_enrolment(variant, client)
        answer = await client.post(variant.sign_in.totp, json={"code": await authenticator.code()}, headers=JSON)
    except Unproven:
        return found
    found["a TOTP secret"] = authenticator.secret
    if answer.status_code == 200:
        codes = re.findall(r"\b[A-Z2-7]{4}(?:-[A-Z2-7]{4}){3}\b", answer.text)
        found |= {f"recovery code {number}": code for number, code in enumerate(codes, 1)}
        variant.redactor.learn(*codes)
    return found


async def _sent(variant: Target) -> dict[str, str]:
    """Tokens that arrive with requests, in every place that a token arrives in."""
    names = ("a bearer token", "a cookie", "a token in the query", "a password")
    sent = {name: secrets.token_urlsafe(24) for name in names}
    client = variant.anonymous()
    for path in ("/", variant.document.openapi_path, variant.sign_in.me, "/planted/raise", "/no/such/page"):
        await client.get(
            path,
            params={"token": sent["a token in the query"], "code": sent["a token in the query"]},
            headers={
                "Authorization": f"Bearer {sent['a bearer token']}",
                "Cookie": f"{variant.sign_in.session_cookie}={sent['a cookie']}; other={sent['a cookie']}",
            },
        )
        await client.post(path, json={"password": sent["a password"]})
    return sent


def _search(trial: Trial, where: str, text: str, real: RealSecrets, *, of: str) -> None:
    found = real.within(text)
    trial.refuse(
        f"secrets in {where}", ", ".join(found) or f"none of {len(real.values)}", ok=not found, expected="none", of=of
    )


async def _rotating(variant: Target, trial: Trial, real: RealSecrets) -> None:
    """What the command says that handles every secret."""
    process = await start_rotation(variant, ["database", "--json"])
    out, said = await process.communicate()
    text = (out + said).decode("utf-8", "replace")
    trial.allow("database passwords are rotated", f"code {process.returncode}", ok=process.returncode == 0, of="rotate")
    after = await RealSecrets.of(variant)
    _search(trial, "what the rotation says, old and new", text, RealSecrets({**real.values, **{
        f"{name}, renewed": value for name, value in after.values.items()
    }}), of="rotate")  # fmt: skip


def _left_behind(variant: Target, trial: Trial, real: RealSecrets) -> None:
    read, found = 0, []
    vault = variant.secrets.app.secret_id_file.resolve().parent.parent
    for path in files_of(variant.source):
        if not path.resolve().is_relative_to(vault):
            read += 1
            found += real.within(path.read_bytes().decode("utf-8", "replace"))
    trial.expect(
        "secrets in files of the app's folder", expected="none", observed=", ".join(found) or f"none in {read} files",
        ok=not found and read > 0,
    )  # fmt: skip


def _core(variant: Target, trial: Trial) -> None:
    pid = variant.document.process_id
    if pid is None:
        trial.unproven("target.json names no process id")
        return
    limits = process_text(pid, "limits")
    line = next((one for one in limits.splitlines() if one.startswith("Max core file size")), "")
    sizes = line.removeprefix("Max core file size").split()
    trial.expect(
        "how large a core file of the app's process may be", expected="0", observed=" ".join(sizes[:2]) or "unknown",
        ok=sizes[:2] == ["0", "0"],
    )  # fmt: skip
