"""Pages: Jinja2 templates, escaped always, under a policy that runs no inline script or style.

Templates are found by name only, first in the app's `templates/` folder, then in those of the packages under their
prefix (`web/base.html`, `identity/step_up.html`); no text from a request is ever compiled as a template.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from seawall.core.decisions import passage_of
from seawall.settings import Settings
from seawall.web.assets import Assets

EXPONENTS = {
    **dict.fromkeys(
        [
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "UYI",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ],
        0,
    ),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
    **dict.fromkeys(["CLF", "UYW"], 4),
}
"""ISO 4217 minor-unit exponents that are not 2."""

SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}


def money(minor: int, currency: str) -> str:
    """`123450, "USD"` as `$1,234.50`. Integer arithmetic only.

    Raises:
        TypeError: when `minor` is not an integer; a float has already lost a cent somewhere.
    """
    if not isinstance(minor, int) or isinstance(minor, bool):
        raise TypeError(f"minor units are an integer, not {type(minor).__name__}")
    exponent = EXPONENTS.get(currency, 2)
    whole, rest = divmod(abs(minor), 10**exponent)
    figure = f"{whole:,}" + (f".{rest:0{exponent}d}" if exponent else "")
    sign = "−" if minor < 0 else ""
    symbol = SYMBOLS.get(currency)
    return f"{sign}{symbol}{figure}" if symbol else f"{sign}{figure} {currency}"


def when(moment: datetime) -> Markup:
    """An aware time as a `<time>` element, in UTC.

    Raises:
        ValueError: when `moment` is naive, because then nobody knows when it is.
    """
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    moment = moment.astimezone(UTC)
    shown = f"{moment.day} {moment:%b %Y, %H:%M} UTC"
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(timespec="seconds"), shown)


class Pages:
    """The templates of one app."""

    def __init__(self, settings: Settings, assets: Assets, packages: Sequence[tuple[str, Path]] = ()) -> None:
        own = settings.root / "templates"
        by_prefix: dict[str, list[jinja2.BaseLoader]] = {}
        for prefix, folder in [("web", Path(__file__).parent / "templates"), *packages]:
            by_prefix.setdefault(prefix, []).append(jinja2.FileSystemLoader(folder))
        prefixed = {prefix: jinja2.ChoiceLoader(loaders) for prefix, loaders in by_prefix.items()}
        self._environment = jinja2.Environment(
            loader=jinja2.ChoiceLoader([jinja2.FileSystemLoader(own), jinja2.PrefixLoader(prefixed)]),
            autoescape=True,  # for every name, not only for *.html: what is rendered here is always a page
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=not settings.production,
        )
        self._environment.filters.update(money=money, when=when)
        self._environment.globals.update(
            app_name=settings.app.name,
            production=settings.production,
            navigation=settings.web.navigation,
            static=assets.url,
        )

    def render(self, request: Request, template: str, context: dict[str, Any], *, status: int = 200) -> Response:
        """A page. Beside `context`, templates have `nonce`, `principal`, `path`, `app_name`, `production`, `static()`.

        Raises:
            jinja2.TemplateNotFound, jinja2.UndefinedError: a mistake in the app, answered as a 500.
        """
        passage = passage_of(request)
        values = {**context, "nonce": passage.nonce, "principal": passage.principal, "path": passage.path}
        return HTMLResponse(self._environment.get_template(template).render(values), status_code=status)


def page(request: Request, template: str, context: dict[str, Any] | None = None, *, status: int = 200) -> Response:
    """An HTML page from the app's own templates: `return page(request, "orders.html", {"orders": orders})`."""
    return passage_of(request).runtime.render(request, template, context or {}, status=status)
