"""The judge passes a good app, fails a bad one, and calls unproven what it could not try."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from seawall_check.config import CheckConfig, load
from seawall_check.control import Found
from seawall_check.errors import CheckError, DidNotStart
from seawall_check.run import check
from seawall_check.start import Change, started
from seawall_check.target import Target, opened
from seawall_check.trial import Trial

Make = Callable[..., Found]


async def verdict(config: CheckConfig, control: Found, **env: str) -> tuple[str, str]:
    report = await check(config, [control], change=Change(env=env), today=date(2027, 1, 15))
    return report.results[0].verdict, report.results[0].why


async def test_a_good_app_passes(config: CheckConfig, object_level: Found) -> None:
    report = await check(config, [object_level])
    (result,) = report.results
    assert (result.verdict, report.exit_code, report.app) == ("pass", 0, "notes")
    assert [one.observed for one in result.evidence] == ["200 OK", "404 Not Found"]
    assert all(one.artifact_sha256 in result.artifacts for one in result.evidence)


async def test_a_bad_app_fails(config: CheckConfig, object_level: Found) -> None:
    report = await check(config, [object_level], change=Change(env={"NOTES_BAD": "1"}))
    assert (report.results[0].verdict, report.exit_code) == ("fail", 1)
    assert "read their note" in report.results[0].why


async def test_a_control_that_breaks_is_unproven(config: CheckConfig, make: Make) -> None:
    async def broken(target: Target, trial: Trial) -> None:
        trial.expect("one thing", expected="1", observed="1", ok=True)
        raise ValueError("oh no")

    state, why = await verdict(config, make(broken))
    assert state == "unproven"
    assert "ValueError: oh no" in why


async def test_a_control_that_hangs_is_unproven(config: CheckConfig, make: Make) -> None:
    async def hangs(target: Target, trial: Trial) -> None:
        trial.expect("one thing", expected="1", observed="1", ok=True)
        await asyncio.sleep(60)

    assert await verdict(config, make(hangs, timeout_s=0.2)) == ("unproven", "it did not finish within 0 s")


async def test_what_the_app_does_not_offer_is_unproven(config: CheckConfig, make: Make) -> None:
    async def wants_a_database(target: Target, trial: Trial) -> None:
        async with target.db_owner():
            pass

    assert await verdict(config, make(wants_a_database)) == ("unproven", "target.json names no database")


async def test_a_persona_that_cannot_sign_in_is_unproven(notes: Path, object_level: Found) -> None:
    text = (notes / "notes_app.py").read_text()
    (notes / "notes_app.py").write_text(text.replace('"password": PASSWORD', '"password": "wrong wrong"'))
    state, why = await verdict(load(notes), object_level)
    assert state == "unproven"
    assert "the form came back" in why


async def test_a_live_waiver_covers_a_fail_and_an_expired_one_does_not(notes: Path, object_level: Found) -> None:
    with (notes / "seawall.toml").open("a") as file:
        file.write('\n[[check.waivers]]\nid = "access/object-level"\nuntil = 2027-01-15\nwhy = "to be rewritten"\n')
    config = load(notes)
    bad = Change(env={"NOTES_BAD": "1"})
    waived = await check(config, [object_level], change=bad, today=date(2027, 1, 15))
    assert (waived.results[0].verdict, waived.exit_code) == ("waived", 0)
    expired = await check(config, [object_level], change=bad, today=date(2027, 1, 16))
    assert (expired.results[0].verdict, expired.exit_code) == ("fail", 1)
    held = await check(config, [object_level], today=date(2027, 1, 15))
    assert held.results[0].verdict == "pass"


async def test_an_app_that_refuses_to_start_cannot_be_checked(config: CheckConfig, object_level: Found) -> None:
    with pytest.raises(DidNotStart) as refusal:
        await check(config, [object_level], change=Change(env={"NOTES_REFUSE": "1"}))
    assert "a route declares nothing" in refusal.value.text


async def test_an_app_that_is_never_ready_cannot_be_checked(notes: Path, object_level: Found) -> None:
    text = (notes / "seawall.toml").read_text()
    slow = text.replace('"notes_app.py"]', '"-c", "import time; time.sleep(60)"]') + "ready_timeout_s = 0.5\n"
    (notes / "seawall.toml").write_text(slow)
    with pytest.raises(DidNotStart, match="within 0 s"):
        await check(load(notes), [object_level])


async def test_a_start_command_that_does_not_exist(notes: Path, object_level: Found) -> None:
    (notes / "seawall.toml").write_text('[check]\nstart = ["no-such-command"]\n')
    with pytest.raises(CheckError, match="cannot run 'no-such-command'"):
        await check(load(notes), [object_level])


async def test_variants_differ_by_env_edit_and_plant(config: CheckConfig) -> None:
    planted = {"extra.py": "from notes_app import app\n"}
    edit = {"notes_app.py": ('"alpha\'s note"', '"another text"')}
    async with opened(config) as target:
        async with target.variant(edit=edit, plant=planted) as other:
            client = await other.client("alpha.writer")
            assert (await client.get("/notes/n-alpha")).json() == {"text": "another text"}
            assert (other.source / "extra.py").is_file()
        client = await target.client("alpha.writer")
        assert (await client.get("/notes/n-alpha")).json() == {"text": "alpha's note"}
        refusal = await target.refusal(env={"NOTES_REFUSE": "1"})
        assert refusal is not None
        assert "declares nothing" in refusal
        assert await target.refusal(env={}) is None
        with pytest.raises(CheckError, match="0 times"):
            await target.refusal(edit={"notes_app.py": ("no such text", "")})


async def test_the_app_ends_with_the_check_even_if_it_ignores_sigterm(
    config: CheckConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seawall_check.start.TERM_TIMEOUT_S", 0.5)
    async with started(config, Change(env={"NOTES_HANG": "1"})) as running:
        pid = running.process.pid
        assert "notes is ready" in running.log()
        await asyncio.sleep(0.5)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_personas_sign_in_once_and_fresh_sessions_are_their_own(config: CheckConfig) -> None:
    async with opened(config) as target:
        first, second = await asyncio.gather(target.client("alpha.writer"), target.client("alpha.writer"))
        assert first is second
        fresh = await target.fresh("alpha.writer")
        assert target.session_token(fresh) != target.session_token(first)
        assert (await target.anonymous().get("/me")).status_code == 401


async def test_changes_carry_an_origin_unless_a_control_leaves_it_out(config: CheckConfig) -> None:
    async with opened(config) as target:
        client = await target.client("alpha.writer")
        sent = (await client.post("/notes/n-new", json={"text": "x"})).request.headers
        assert (sent["origin"], sent["sec-fetch-site"]) == (target.base_url, "same-origin")
        bare = (await client.post("/notes/n-new", json={"text": "x"}, headers={"Origin": ""})).request.headers
        assert "origin" not in bare


async def test_exclusive_controls_run_alone_and_last(config: CheckConfig, make: Make) -> None:
    running, seen = set[str](), list[tuple[str, int]]()

    def control(name: str, **options: object) -> Found:
        async def body(target: Target, trial: Trial) -> None:
            running.add(name)
            seen.append((name, len(running)))
            await asyncio.sleep(0.05)
            running.discard(name)
            trial.expect("ran", expected="1", observed="1", ok=True)

        return make(body, name, **options)

    report = await check(config, [control("web/alone", exclusive=True), control("web/one"), control("web/two")])
    assert [result.control.id for result in report.results] == ["web/alone", "web/one", "web/two"]
    assert seen[-1] == ("web/alone", 1)
    assert max(count for _, count in seen) == 2


async def test_one_controls_timeout_does_not_cancel_what_others_share(config: CheckConfig) -> None:
    async def slow() -> str:
        await asyncio.sleep(0.3)
        return "enrolled"

    async with opened(config) as target:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(target.once("totp", slow), 0.05)
        begun = time.monotonic()
        assert await target.once("totp", slow) == "enrolled"
        assert time.monotonic() - begun < 0.29
