"""Settings: `seawall.toml`, overridden by environment variables `SEAWALL_<SECTION>__<NAME>`.

Secrets are never in `seawall.toml`: they come from the vault (`[secrets]`), or from the environment where there is
none. Every bound has its unit in its name.
"""

from __future__ import annotations

import os
import re
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


RUNNING_URLS = ("url", "identity_url", "break_glass_url", "worker_url", "dispatcher_url")
"""Settings of `[database]`: of the app as it runs, and of whatever does its jobs. A role more has its URL here."""


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
    """The role `seawall_worker`, which does jobs and what operators order; only operators' commands need it."""
    dispatcher_url: SecretStr | None = None
    """The role `seawall_dispatcher`, which claims the jobs for the worker; needed wherever `worker_url` is."""
    break_glass_url: SecretStr | None = None
    """The role `seawall_breakglass`. Without it break-glass grants can be asked for but not used."""
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")] = "app"
    """The database's name on the embedded server."""
    embedded_directory: Path | None = None
    """Where the embedded server keeps its data; default `.seawall/postgres` beside the app."""
    pool_size: Annotated[int, Field(ge=1, le=100)] = 10
    statement_timeout_ms: Annotated[int, Field(ge=100, le=600_000)] = 15_000


class SecretsSection(Section):
    """Where the vault is (OpenBao or HashiCorp Vault), and as whom the app signs in to it.

    Without `address`, `seawall dev` brings an embedded one; production takes secrets from the environment then.
    """

    address: Annotated[str, Field(pattern=r"^(https://[^/?#]+)?$")] = ""
    prefix: Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9_-]{0,62})?$")] = ""
    """The app's engines are `<prefix>/kv`, `<prefix>/transit`, `<prefix>/database`; default: the app's name."""
    database_mount: str = ""
    """The database engine, when it is not `<prefix>/database`."""
    auth: Literal["approle", "kubernetes", "token-file"] = "approle"
    auth_mount: str = ""
    """Where that method is mounted; default: its own name."""
    role: str = ""
    """AppRole's role id (no secret), or the name of the Kubernetes role."""
    credential_file: Path | None = None
    """AppRole's secret id, plain or `wrapped:…`; the service account's token; or the agent's token. Mode 0600."""
    ca_file: Path | None = None
    """The authority of the vault's certificate; default: the system's."""
    namespace: str = ""
    timeout_ms: Annotated[int, Field(ge=100, le=30_000)] = 3_000
    refresh_s: Annotated[float, Field(ge=0.2, le=60)] = 5.0
    """How often the versions of the master secret are read anew; a rotation takes five times this."""
    embedded_directory: Path | None = None
    """Where the embedded vault keeps its data; default `.seawall/vault` beside the app."""


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
    tenants: tuple[str, ...] = ()
    """Slugs of the only tenants that people may enter through it; empty for a provider of everybody. A customer's own
    provider must never open another customer's door."""
    acr_values: tuple[str, ...] = ()
    """Authentication contexts to ask for, of which the ID token must say one, such as the provider's name for MFA."""
    max_age_s: Annotated[int, Field(ge=0, le=2_592_000)] | None = None
    """At every sign-in the person must have authenticated there within so many seconds."""


class ClientSection(Section):
    """One API client: public, or confidential, which is one that has a secret."""

    title: str = ""
    """What the consent page calls it."""
    redirect_uris: tuple[str, ...] = ()
    """Compared exactly; an `http` address of 127.0.0.1 or [::1] fits with any port (RFC 8252 §7.3)."""
    confidential: bool = False
    """It has a secret: `client-NAME` of the vault. A `resource_server`, and whoever has a `secret`, is confidential."""
    secret: SecretStr | None = None
    """From the environment, where there is no vault or nothing in it."""
    bearer: bool = False
    """It may have tokens that are bound to no key. They open only routes that are declared `bearer("why")`."""
    resource_server: bool = False
    """It may introspect every client's access tokens, not only its own."""


LOOPBACK_REDIRECTS = ("http://127.0.0.1/callback", "http://[::1]/callback")


class DevicesSection(Section):
    """Sessions bound to the browser's device (Device Bound Session Credentials)."""

    binding: bool = True
    """The kill switch: `false` offers no binding, and the app lets go of every existing one when it starts."""
    cookie_lifetime_s: Annotated[int, Field(ge=2, le=3_600)] = 600
    """How long a stolen cookie jar is worth anything; the browser proves its key anew that often."""
    grace_s: Annotated[int, Field(ge=0, le=60)] = 10
    """Requests that left the browser before the bound cookie arrived are taken for so long."""


class RiskSection(Section):
    """What a signal weighs, and from which sum on something is done. 0 switches a signal off."""

    country_database: Path | None = None
    """A MaxMind DB file (`.mmdb`) that knows countries. Without it countries are neutral."""
    asn_database: Path | None = None
    new_device: Annotated[int, Field(ge=0, le=100)] = 30
    country: Annotated[int, Field(ge=0, le=100)] = 40
    asn: Annotated[int, Field(ge=0, le=100)] = 15
    platform: Annotated[int, Field(ge=0, le=100)] = 60
    two_networks: Annotated[int, Field(ge=0, le=100)] = 30
    failures: Annotated[int, Field(ge=0, le=100)] = 30
    notify_at: Annotated[int, Field(ge=1, le=101)] = 30
    step_up_at: Annotated[int, Field(ge=1, le=101)] = 60
    """101 is never reached: it switches the effect off."""
    failures_per_account: Annotated[int, Field(ge=1, le=10_000)] = 5
    failures_per_network: Annotated[int, Field(ge=1, le=100_000)] = 20
    two_networks_within_s: Annotated[int, Field(ge=1, le=3_600)] = 60


class IdentitySection(Section):
    providers: dict[str, ProviderSection] = Field(default_factory=lambda: {"dev": ProviderSection(kind="development")})
    privileged_roles: tuple[Annotated[str, Field(pattern=r"^[a-z][a-z_]{0,62}$")], ...] = ("owner", "admin")
    """Who holds one of these can do nothing without a second factor (ASVS 6.3.3). The database enforces it."""
    passkey_sign_in: bool = True
    """Whether a passkey signs in by itself. Off, all go through a provider, and passkeys prove second factors only."""
    step_up_lifetime_s: Annotated[int, Field(ge=10, le=3_600)] = 300
    """How long a step-up challenge may wait, and how long its approval may be used."""
    clients: dict[str, ClientSection] = Field(
        default_factory=lambda: {"cli": ClientSection(title="Command line", redirect_uris=LOOPBACK_REDIRECTS)}
    )
    """API clients by client id. Those declared replace the default `cli`."""
    access_token_lifetime_s: Annotated[int, Field(ge=30, le=300)] = 300
    grant_idle_timeout_s: Annotated[int, Field(ge=1, le=7_776_000)] = 1_209_600
    """A client that has not called or refreshed for so long must ask the person again."""
    grant_absolute_timeout_s: Annotated[int, Field(ge=1, le=31_536_000)] = 7_776_000
    refresh_retry_s: Annotated[int, Field(ge=0, le=120)] = 10
    """How long the refresh token just replaced still gives its successor, for tabs that refresh at the same time. A
    lost answer has a day. Longer helps a thief who refreshes just behind the owner; see docs/guide/api-clients.md."""
    signing_key_lifetime_s: Annotated[int, Field(ge=3_600, le=31_536_000)] = 2_592_000
    attempts_per_account: Annotated[int, Field(ge=1, le=10_000)] = 10
    attempts_per_network: Annotated[int, Field(ge=1, le=100_000)] = 100
    attempts_window_s: Annotated[int, Field(ge=1, le=86_400)] = 300
    codes_per_day: Annotated[int, Field(ge=10, le=10_000)] = 50
    """How many wrong codes of an authenticator app a person has a day. Three of a million are right at a time: whoever
    has the password goes on guessing for 6,700 days until one is."""
    sign_ins_per_network: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000
    """How many sign-ins a network (IPv4 /24, IPv6 /64) may begin in `attempts_window_s`."""
    devices: DevicesSection = DevicesSection()
    risk: RiskSection = RiskSection()


def _owners_grant() -> dict[str, tuple[str, ...]]:
    return {"owner": ("*",)}


class AccessSection(Section):
    grants: dict[str, tuple[str, ...]] = Field(default_factory=_owners_grant)
    """Role → the roles that its tenant-wide holders may give and take; `*` is every role. Others give none."""
    stewards: tuple[str, ...] = ("owner",)
    """The tenant-wide roles that speak for the tenant: they see break-glass grants and end them."""
    engine: Literal["cedar", "rego"] = "cedar"
    """The language of the policies. `rego` needs the extra of that name."""
    authzen: bool = True
    """Whether other programs may ask for decisions (OpenID Authorization API 1.0): everybody about themself only."""


class NavigationItem(Section):
    """A link in the bar on top of every page, the library's own among them."""

    text: Annotated[str, Field(min_length=1, max_length=40)]
    path: Annotated[str, Field(pattern="^/([^/].*)?$")]
    roles: tuple[str, ...] = ()
    """Who sees it: anybody who is signed in, or whoever holds one of these roles. What they may do, policies say."""


class WebSection(Section):
    body_max_bytes: Annotated[int, Field(ge=1_024, le=64 * 1024 * 1024)] = 1024 * 1024
    header_max_bytes: Annotated[int, Field(ge=1_024, le=65_536)] = 16_384
    public_origin: str = ""
    """`https://shop.example`: what browsers call us. Empty in development, where the request's own host is taken."""

    log_exception_text: bool = False
    """Write texts of exceptions into the log, which often quote a row. `seawall dev` does, on invented data; production
    refuses."""

    navigation: tuple[NavigationItem, ...] = ()
    """`[[web.navigation]]`, in its order."""


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
    """32 bytes or more, base64url: the master secret where there is no vault. Development makes its own."""
    app: AppSection = AppSection()
    database: DatabaseSection = DatabaseSection()
    secrets: SecretsSection = SecretsSection()
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
                "secrets.address (or secret_key)": self.secrets.address or self.secret_key,
                "web.public_origin": self.web.public_origin or None,
            }.items()
            if not value
        ]
        if missing:
            raise ValueError(f"production needs {', '.join(missing)}")
        if self.web.log_exception_text:
            raise ValueError("web.log_exception_text writes people's data into the log of production")
        if self.identity.devices.binding and self.identity.devices.cookie_lifetime_s < 300:
            # browsers sign six times in several minutes at most; then a bound session waits, and its person signs in
            # again
            raise ValueError("identity.devices.cookie_lifetime_s is below 300 s, for development only")
        if self.secret_key is not None and len(self.secret_key.get_secret_value()) < 43:
            raise ValueError("secret_key is shorter than 32 bytes (43 base64url characters)")
        return self

    @property
    def production(self) -> bool:
        return self.env == "production"

    @property
    def vault_prefix(self) -> str:
        """`[secrets] prefix`, or the app's name in lower case with dashes."""
        return self.secrets.prefix or re.sub(r"[^a-z0-9]+", "-", self.app.name.lower()).strip("-") or "app"

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
