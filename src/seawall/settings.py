"""Settings: `seawall.toml`, overridden by environment variables `SEAWALL_<SECTION>__<NAME>`.

Secrets are never in `seawall.toml`; a client secret or a database password comes from the environment. Every bound has
its unit in its name.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from seawall.core.errors import Refused

SETTINGS_FILE = "seawall.toml"
STATE_DIRECTORY = ".seawall"
"""Development state beside the app: the embedded database, the development CA and keys. Never committed."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AppSection(Section):
    name: str = "app"
    module: str = "app:app"
    """Where the FastAPI app is, as `module:attribute`."""
    edition: str = "2026.11"
    seed: str = ""
    """`module:coroutine` that fills a development database with its tenants."""
    models: str = ""
    """The module whose import defines every model."""


class DatabaseSection(Section):
    """Where PostgreSQL is. Without `url` an embedded server is used, in development only.

    One URL per role in production, because one password for all would undo their separation.
    """

    url: SecretStr | None = None
    """The app's role `seawall_app`. `DATABASE_URL` sets it too."""
    identity_url: SecretStr | None = None
    """The role `seawall_identity`, which alone reads and writes sessions."""
    migrator_url: SecretStr | None = None
    """The role `seawall_migrator`; only `seawall migrate` needs it."""
    worker_url: SecretStr | None = None
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")] = "app"
    """The database's name on the embedded server."""
    embedded_directory: Path | None = None
    """Where the embedded server keeps its data; default `.seawall/postgres` beside the app."""
    pool_size: Annotated[int, Field(ge=1, le=100)] = 10
    statement_timeout_ms: Annotated[int, Field(ge=100, le=600_000)] = 15_000


class SessionSection(Section):
    """ASVS 7.3.1, 7.3.2: both timeouts always hold."""

    idle_timeout_s: Annotated[int, Field(ge=1, le=86_400)] = 1_800
    absolute_timeout_s: Annotated[int, Field(ge=1, le=2_592_000)] = 43_200


class ProviderSection(Section):
    """One OpenID provider. `development` is the embedded one and refuses to run in production."""

    kind: Literal["oidc", "development"] = "oidc"
    issuer: str = ""
    client_id: str = "seawall"
    client_secret: SecretStr | None = None
    title: str = ""
    email_domains: tuple[str, ...] = ()
    """Domains this provider speaks for: an invited account is linked by *verified* email only within them."""


class IdentitySection(Section):
    providers: dict[str, ProviderSection] = Field(default_factory=lambda: {"dev": ProviderSection(kind="development")})
    step_up_lifetime_s: Annotated[int, Field(ge=10, le=3_600)] = 300
    """How long a step-up challenge may wait, and how long its approval may be used."""
    attempts_per_account: Annotated[int, Field(ge=1, le=10_000)] = 10
    attempts_per_network: Annotated[int, Field(ge=1, le=100_000)] = 100
    attempts_window_s: Annotated[int, Field(ge=1, le=86_400)] = 300


class AccessSection(Section):
    engine: Literal["cedar", "rego"] = "cedar"
    """The language of the policies. `rego` needs the extra of that name."""
    authzen: bool = True
    """Whether other programs may ask for decisions (OpenID Authorization API 1.0): everybody about themself only."""


class WebSection(Section):
    body_max_bytes: Annotated[int, Field(ge=1_024, le=64 * 1024 * 1024)] = 1024 * 1024
    header_max_bytes: Annotated[int, Field(ge=1_024, le=65_536)] = 16_384
    public_origin: str = ""
    """`https://shop.example`: what browsers call us. Empty in development, where the request's own host is taken."""


class CheckSection(Section):
    """How `seawall check` starts this app, and its author's expectations; the judge reads those, the app does not."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    start: tuple[str, ...] = ()
    ready_timeout_s: int = 60


class Settings(BaseSettings):
    """Everything an app may set, with safe defaults for all of it."""

    model_config = SettingsConfigDict(
        env_prefix="SEAWALL_", env_nested_delimiter="__", extra="forbid", frozen=True, toml_file=SETTINGS_FILE
    )

    env: Literal["development", "production"] = "development"
    """`SEAWALL_ENV`."""
    root: Path = Path()
    """The app's folder."""
    secret_key: SecretStr | None = None
    """32 bytes or more, base64url: seals TOTP secrets until the vault does. Development makes its own."""
    app: AppSection = AppSection()
    database: DatabaseSection = DatabaseSection()
    session: SessionSection = SessionSection()
    identity: IdentitySection = IdentitySection()
    access: AccessSection = AccessSection()
    web: WebSection = WebSection()
    check: CheckSection = CheckSection()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @model_validator(mode="after")
    def _production_is_strict(self) -> Settings:
        if self.env != "production":
            return self
        missing = [
            name
            for name, value in {
                "database.url (DATABASE_URL)": self.database.url,
                "database.identity_url": self.database.identity_url,
                "secret_key": self.secret_key,
                "web.public_origin": self.web.public_origin or None,
            }.items()
            if value is None
        ]
        if missing:
            raise ValueError(f"production needs {', '.join(missing)}")
        if self.secret_key is not None and len(self.secret_key.get_secret_value()) < 43:
            raise ValueError("secret_key is shorter than 32 bytes (43 base64url characters)")
        return self

    @property
    def production(self) -> bool:
        return self.env == "production"

    @property
    def state_directory(self) -> Path:
        return self.root.resolve() / STATE_DIRECTORY


def load(root: Path | None = None) -> Settings:
    """Read `seawall.toml` of `root` (default: the working folder) and the environment.

    Raises:
        Refused: naming the setting that does not validate.
    """
    folder = (root or Path(os.environ.get("SEAWALL_ROOT", "."))).resolve()

    class Here(Settings):
        model_config = SettingsConfigDict(toml_file=folder / SETTINGS_FILE)

    values: dict[str, Any] = {"root": folder}
    if "DATABASE_URL" in os.environ and "SEAWALL_DATABASE__URL" not in os.environ:
        values["database"] = {"url": os.environ["DATABASE_URL"]}
    try:
        return Here(**values)
    except tomllib.TOMLDecodeError as error:
        raise Refused(
            f"{SETTINGS_FILE} is not TOML: {error}",
            why="settings that cannot be read are not replaced by defaults in silence",
            fix=f"mend that line of {SETTINGS_FILE}",
        ) from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "settings"
        if where == "settings":
            raise Refused(
                first["msg"].removeprefix("Value error, "),
                why="production assumes nothing and brings nothing along",
                fix="set them in the environment, see docs/guide/production.md",
            ) from None
        raise Refused(
            f"{where}: {first['msg']}",
            why="a setting that is not understood is never ignored, because it may be the one that protects you",
            fix=f"correct it in {SETTINGS_FILE} or in SEAWALL_{where.upper().replace('.', '__')}",
        ) from None
