"""`target.json`, typed: what a running app tells the judge about itself. The format is docs/target.md."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from seawall_check.errors import CheckError


class Part(BaseModel):
    """Unknown members are ignored, so that a newer app can be judged by an older judge."""

    model_config = ConfigDict(extra="ignore", frozen=True)


# Seawall's contexts are kid.tenant.user.session.kind.expiry.mac; the mac is HMAC-SHA-256 over all before it.
SIGN_CONTEXT = """
SELECT said || '.' || encode(sha256(k.outer_pad || sha256(k.inner_pad || convert_to(said, 'UTF8'))), 'hex')
FROM (SELECT string_to_array($1, '.') AS part) AS given,
     LATERAL (SELECT (extract(epoch FROM now())::bigint + $2::bigint)::text AS ends) AS e,
     LATERAL (SELECT array_to_string(part[1:5] || ends, '.') AS said) AS s,
     LATERAL (SELECT inner_pad, outer_pad FROM seawall.context_keys WHERE kid = part[1]::integer) AS k
"""


class JobRoles(Part):
    """As whom work is done that outlives its request. An app that has no such work leaves this out."""

    worker_url: str
    """As whom a job's own statements run."""
    dispatcher_url: str
    """As whom jobs are claimed."""
    claim: str = "SELECT * FROM seawall.claim('{}', 1)"
    """What claims one and gives its context. As written here it asks for no kind of job, so that none is taken."""


class DatabaseAccess(Part):
    """The scratch database. `owner_url` is a superuser on it; the judge reads the catalogue and plants rows with it."""

    owner_url: str
    app_url: str
    app_role: str
    app_schemas: tuple[str, ...] = ("app",)
    tenant_column: str = "tenant_id"
    tenant_function: str = "seawall.tenant_id()"
    context_setting: str = "seawall.ctx"
    admit: str = "SELECT * FROM seawall.admit($1)"
    """What the app's role runs to be admitted; `$1` is the SHA-256 of a session token."""
    global_mark: str = "@seawall:global"
    """A table's comment holds this when the table is meant to belong to no tenant."""
    sign_context: str = SIGN_CONTEXT
    """What the owner runs to sign a context again that ends `$2` seconds from now; `$1` is a live one. So an expired
    context can be tried without waiting, and one that ends later shows that this signature is right."""
    protected: tuple[str, ...] = ("seawall.sessions", "seawall.context_keys")
    """Relations that the app's role must not be able to read."""
    audit_table: str = "seawall.audit_events"
    pseudonym: str = "SELECT seawall.pseudonym($1, $2)"
    """What the app's role runs, within a tenant's context, to name an object (`$2`, a uuid) to a service (`$1`)."""
    subject_of: str = "SELECT seawall.subject_of($1, $2)"
    """The way back: from a service (`$1`) and its name for something (`$2`) to the id."""
    audit_query: str = ""
    """A SELECT for the owner that gives one row per audit event, oldest first."""
    jobs: JobRoles | None = None


class Passkeys(Part):
    """Where passkeys are enrolled and used, as JSON. Options come as `{"options": {…}}` in their JSON form; answers
    go as `{"credential": {…}}`, and what enrols tells the new one's id as `passkey`.
    """

    enrol: str
    """GET gives options for a new one."""
    add: str
    """POST takes its answer."""
    prove: str
    """GET gives options, POST takes an answer (or a `code`): the session's second factor."""
    sign_in_options: str
    """POST gives options to somebody who is not signed in."""
    sign_in: str
    """POST takes an answer and signs in."""
    remove: str = ""
    """POST removes the one in place of `{passkey}`."""


class Command(Part):
    """A command of the app's operator. `{tenant}` and `{slug}` in `argv` become those of one tenant."""

    argv: tuple[str, ...]
    env: dict[str, str] = Field(default_factory=dict)


class Sealed(Part):
    """Columns that are encrypted under keys of their tenant, and what can be done with those keys."""

    columns: tuple[str, ...]
    """`schema.table.column`; the table's primary key is the tenant's column and one more."""
    keys_table: str = "seawall.tenant_keys"
    """Where wrapped keys are; it has the tenant's column."""
    keys_query: str = "SELECT tenant_id::text AS tenant, state, wrapped FROM seawall.tenant_keys"
    """Run by the owner: one row a key. `wrapped` is what the vault gave, or NULL when the key is gone."""
    broken_kind: str = "privacy.seal"
    """The kind of the audit event of a value that did not open."""
    rotate: Command | None = None
    destroy: Command | None = None


class SignIn(Part):
    """The paths and field names of the app's sign-in form."""

    start: str
    callback: str = ""
    login_field: str = "login"
    password_field: str = "password"  # noqa: S105 - the name of a form field
    session_cookie: str = "session"
    me: str
    sign_out: str = ""
    sign_out_everywhere: str = ""
    totp: str = ""
    passkeys: Passkeys | None = None
    privileged_roles: tuple[str, ...] = ()
    """Roles that can do nothing without a second factor. Their personas prove a passkey at each sign-in."""
    known_cookie: str = ""
    """A cookie that only tells a browser that was here before from one that was not; it may live long."""


class ApiClient(Part):
    """A client that is registered, and where it gets its answers."""

    client_id: str
    redirect_uri: str
    client_secret: str = ""


class Api(ApiClient):
    """How API clients get in: OAuth 2.0 with PKCE, and DPoP where the metadata offers it."""

    metadata: str = "/.well-known/oauth-authorization-server"
    """The path of the RFC 8414 document."""
    others: tuple[ApiClient, ...] = ()
    """Further clients. Without one the judge starts a variant that has two."""
    plant_key: str = ""
    """What the owner of the scratch database runs to make the app trust another signing key: `$1` is its `kid` (the RFC
    7638 thumbprint), `$2` its public JWK as JSON text. So the judge can sign tokens that the app never would."""


class OwnData(Part):
    """Where people ask for a copy of what is known about them, and to be forgotten."""

    copy_of: str = ""
    """GET answers with everything, as JSON."""
    erase: str = ""
    """POST forgets them, after a step-up."""


class Tenant(Part):
    """One tenant. `objects` maps a path parameter's name to ids of objects that this tenant owns."""

    id: str
    name: str
    slug: str = ""
    objects: dict[str, tuple[str, ...]] = Field(default_factory=dict)


class Persona(Part):
    """Someone who can sign in. `objects` are the ids that this persona may act on."""

    name: str
    tenant: str
    role: str
    user_id: str = ""
    login: str
    password: str
    objects: dict[str, tuple[str, ...]] = Field(default_factory=dict)


class Commands(Part):
    """What an operator runs, in the app's source folder, with `env` set. `{tenant}` and `{file}` are filled in."""

    env: dict[str, str] = Field(default_factory=dict)
    suspend: tuple[str, ...] = ()
    resume: tuple[str, ...] = ()
    export: tuple[str, ...] = ()
    """Writes everything of the tenant into a new ZIP file."""
    erase: tuple[str, ...] = ()


class VaultIdentity(Part):
    """As whom one signs in to the vault: AppRole's id, and the file of mode 0600 that holds its secret id."""

    role_id: str
    secret_id_file: Path


class Secrets(Part):
    """The vault that the app reads its secrets from (OpenBao's or Vault's API), and how they are rotated."""

    address: str
    ca_file: str | None = None
    kv: str
    """Paths of the engines: KV version 2, transit and database."""
    transit: str
    database: str
    app: VaultIdentity
    operator: VaultIdentity
    master: str = "master"
    """The secret that others are sealed with."""
    roles: dict[str, str] = Field(default_factory=dict)
    """Database role → the URL that the app connects to, without a password."""
    rotate: tuple[str, ...] = ()
    """The command that rotates what its arguments name; it is run in the app's folder with `rotate_env` added."""
    rotate_env: dict[str, str] = Field(default_factory=dict)


class Document(Part):
    version: Literal[1]
    app: str
    base_url: Annotated[str, Field(pattern=r"^https?://[^/]+$")]
    ca_file: str | None = None
    openapi_path: str = "/openapi.json"
    source: Path | None = None
    database: DatabaseAccess | None = None
    sealed: Sealed | None = None
    sign_in: SignIn | None = None
    commands: Commands = Commands()
    own_data: OwnData = OwnData()
    api: Api | None = None
    secrets: Secrets | None = None
    process_id: int | None = None
    """The app's process on this machine."""
    tenants: tuple[Tenant, ...] = ()
    personas: tuple[Persona, ...] = ()
    staff: tuple[Persona, ...] = ()
    """The platform's own people, who may ask for break-glass. They belong to none of the tenants."""


def parse(raw: dict[str, Any]) -> Document:
    """Read `target.json`.

    Raises:
        CheckError: naming the first member that is wrong.
    """
    try:
        return Document.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise CheckError(f"target.json: {where}: {first['msg']}", fix="see docs/target.md") from None
