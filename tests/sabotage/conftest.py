"""Falsifying the judge: every control's check must notice when its control is broken, and be content again after.

One clean restaurant app is started for each xdist worker. A sabotage that needs other code or settings starts a variant
of it; one that is SQL with an undo works on the clean app's own scratch database.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from typing import Any

import pytest
from tests.support.sabotages import replaced_in_vain

from seawall.secrets import EmbeddedVault
from seawall_check.config import CheckConfig, load
from seawall_check.control import Found, discover
from seawall_check.run import Result, judge, judge_one
from seawall_check.start import Change
from seawall_check.target import Target, opened

WRAPPER = "sabotaged_app"
Sabotage = Callable[..., Awaitable[Result]]


@pytest.fixture(scope="session")
def controls() -> dict[str, Found]:
    return {found.id: found for found in discover()}


@pytest.fixture(scope="session")
def restaurant(tmp_path_factory: pytest.TempPathFactory) -> CheckConfig:
    """A freshly generated restaurant app, as `seawall new restaurant` makes it."""
    from seawall import scaffold

    return load(scaffold.new("restaurant", "shop", tmp_path_factory.mktemp("restaurant")))


@pytest.fixture(scope="session")
async def clean(restaurant: CheckConfig, vault_server: EmbeddedVault) -> AsyncIterator[Target]:
    """The app as generated, running."""
    async with opened(restaurant) as target:
        yield target


@pytest.fixture(scope="session")
def clean_results() -> dict[str, Result]:
    """Verdicts on the clean app, so that several sabotages of one control judge it once."""
    return {}


@pytest.fixture
async def sabotage(
    request: pytest.FixtureRequest,
    clean: Target,
    controls: dict[str, Found],
    clean_results: dict[str, Result],
) -> Sabotage:
    """`await sabotage("web/headers", python=… | sql=… | edit=… | plant=… | env=…, trips={…})`."""
    prove = bool(request.config.getoption("--prove", default=False))

    async def breaks(
        control_id: str,
        *,
        python: str | None = None,
        sql: str | None = None,
        undo_sql: str | None = None,
        edit: Mapping[str, tuple[str, str]] | None = None,
        plant: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        trips: Collection[str] = frozenset(),
    ) -> Result:
        assert not (vain := replaced_in_vain(python or "")), f"the app has no {', '.join(vain)} to be replaced"
        found = controls[control_id]
        if control_id not in clean_results:
            clean_results[control_id] = await _judge(clean, found)
        _must_be(clean_results[control_id], "pass", "on the app as generated")

        async def broken(target: Target) -> Result:
            if sql is not None:
                async with target.db_owner() as db:
                    await db.execute(sql)
            try:
                if prove:
                    return await _exactly(target, controls, control_id, set(trips) | {control_id})
                return await _judge(target, found)
            finally:
                if undo_sql is not None:
                    async with target.db_owner() as db:
                        await db.execute(undo_sql)

        change = _change(clean.config, python, edit, plant, env)
        if change.copies or change.env or undo_sql is None:
            async with opened(clean.config, change=change) as variant:
                result = await broken(variant)
        else:
            result = await broken(clean)
            _must_be(await _judge(clean, found), "pass", "after the sabotage was undone")
        _must_be(result, "fail", "on the sabotaged app")
        return result

    return breaks


def _change(
    config: CheckConfig,
    python: str | None,
    edit: Mapping[str, tuple[str, str]] | None,
    plant: Mapping[str, str] | None,
    env: Mapping[str, str] | None,
) -> Change:
    files, settings = dict(plant or {}), dict(env or {})
    if python is not None:
        module, _, attribute = config.app_module.partition(":")
        files[f"{WRAPPER}.py"] = f"{python}\n\nfrom {module} import {attribute}\n"
        settings["SEAWALL_APP__MODULE"] = f"{WRAPPER}:{attribute}"
    return Change(settings, dict(edit or {}), files)


async def _judge(target: Target, found: Found) -> Result:
    result = await judge_one(target, found)
    if found.control.exclusive:
        target.forget_clients()
    return result


async def _exactly(target: Target, controls: dict[str, Found], control_id: str, trips: set[str]) -> Result:
    results = {result.control.id: result for result in await judge(target, list(controls.values()))}
    failed = {name for name, result in results.items() if result.verdict == "fail"}
    told: dict[str, Any] = {name: f"{one.verdict}: {one.why}" for name, one in results.items() if one.verdict != "pass"}
    assert failed == trips, f"should fail {sorted(trips)}, did fail {sorted(failed)}: {told}"
    return results[control_id]


def _must_be(result: Result, verdict: str, where: str) -> None:
    assert result.verdict == verdict, f"{result.control.id} is {result.verdict}, not {verdict}, {where}: {result.why}"
