"""Variants of the app with something planted in them, and whether they start."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from seawall_check.target import Target
from seawall_check.trial import Trial

WRAPPER = "seawall_check_planted"
MODULE_SETTING = "SEAWALL_APP__MODULE"


def plant(target: Target, code: str) -> dict[str, Any]:
    """Arguments of `variant`: the app's own module with some code run after it."""
    # a variant may itself be wrapped: what is planted goes around that
    module, _, attribute = target.change.env.get(MODULE_SETTING, target.config.app_module).partition(":")
    text = f"from {module} import {attribute}\n\n{code}\n"
    return {
        "plant": {f"{WRAPPER}.py": text.replace("{app}", attribute)},
        "env": {MODULE_SETTING: f"{WRAPPER}:{attribute}"},
    }


def must_refuse(trial: Trial, what: str, refusal: str | None, names: Collection[str], *, of: str = "") -> None:
    """Record that the app did not start with that, and named what is wrong with it.

    Args:
        refusal: what it printed when it refused; None when it started.
        names: one of them is in a text that names it.
    """
    named = refusal is not None and any(name in refusal for name in names)
    observed = "it started" if refusal is None else "it refused" + ("" if named else ", without naming it")
    trial.refuse(
        f"start with {what}",
        observed,
        ok=named,
        expected="it refuses to start and names what is wrong",
        artifact=refusal or observed,
        of=of,
    )
