"""The target file: what the judge is told about a running app (`docs/target.md`). Only scratch databases write one."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import orjson

from seawall.core.events import SealFailure
from seawall.development.certificates import Certificates
from seawall.development.database import DevelopmentDatabase
from seawall.development.seeding import Persona, Sow
from seawall.development.vault import DevelopmentVault
from seawall.secrets import OPERATOR, Mounts
from seawall.settings import ClientSection, Settings
from seawall.store.roles import APP, DISPATCHER, IDENTITY, WORKER
from seawall.store.sealed import doors_of, sealed_models
from seawall.store.walls import APP_SCHEMA

TARGET_VERSION = 1
_TENANT = ("seawall", "tenant")


def target_document(
    settings: Settings,
    base_url: str,
    *,
    certificates: Certificates,
    database: DevelopmentDatabase,
    vault: DevelopmentVault,
    sow: Sow,
) -> dict[str, Any]:
    """The target file's content."""
    return {
        "version": TARGET_VERSION,
        "app": settings.app.name,
        "base_url": base_url,
        "ca_file": str(certificates.ca),
        "openapi_path": "/openapi.json",
        "source": str(settings.root.resolve()),
        "database": _database(database),
        "sealed": _sealed(database, vault),
        "sign_in": {
            "start": "/auth/sign-in?provider=dev",
            "callback": "/auth/callback/dev",
            "login_field": "email",
            "password_field": "password",
            "session_cookie": "__Host-sw_sid",
            "me": "/auth/me",
            "sign_out": "/auth/sign-out",
            "sign_out_everywhere": "/auth/sign-out-everywhere",
            "totp": "/auth/totp",
            "passkeys": {
                "enrol": "/auth/passkeys/new",
                "add": "/auth/passkeys",
                "prove": "/auth/second-factor",
                "sign_in_options": "/auth/sign-in/passkey/options",
                "sign_in": "/auth/sign-in/passkey",
                "remove": "/auth/passkeys/{passkey}/remove",
            },
            "privileged_roles": list(settings.identity.privileged_roles),
            "known_cookie": "__Host-sw_known",
        },
        "own_data": {"copy_of": "/privacy/me/copy", "erase": "/privacy/me/erase"},
        "commands": {
            "env": database.environment() | vault.environment(OPERATOR),
            "suspend": [*_TENANT, "suspend", "{tenant}"],
            "resume": [*_TENANT, "resume", "{tenant}"],
            "export": [*_TENANT, "export", "{tenant}", "--output", "{file}"],
            # a scratch app's statements are short: what began before the suspension has ended by then
            "erase": [*_TENANT, "erase", "{tenant}", "--yes", "--grace-s", "2"],
        },
        **_api(settings),
        "secrets": _secrets(settings, database, vault),
        "process_id": os.getpid(),
        "tenants": [
            {"id": str(tenant.id), "name": tenant.name, "slug": tenant.slug, "objects": tenant.objects}
            for tenant in sow.tenants.values()
        ],
        "personas": [_persona(persona) for persona in sow.personas.values()],
        "staff": [_persona(person) for person in sow.staff],
    }


def _database(database: DevelopmentDatabase) -> dict[str, Any]:
    return {
        "owner_url": database.owner_url,
        "app_url": database.url(APP),
        "app_role": APP,
        "app_schemas": [APP_SCHEMA],
        "tenant_column": "tenant_id",
        "tenant_function": "seawall.tenant_id()",
        "context_setting": "seawall.ctx",
        "admit_function": "seawall.admit",
        "audit_query": "SELECT id, tx, at, tenant_id, user_id, session_id, kind, outcome, body"
        " FROM seawall.audit_events ORDER BY id",
        "jobs": {"worker_url": database.url(WORKER), "dispatcher_url": database.url(DISPATCHER)},
    }


def _persona(persona: Persona) -> dict[str, Any]:
    return {
        "name": persona.name,
        "tenant": str(persona.tenant_id),
        "role": persona.role,
        "user_id": str(persona.user_id),
        "login": persona.login,
        "password": persona.password,
        "objects": persona.objects,
    }


_PLANT_KEY = """INSERT INTO seawall.signing_keys (kid, public, sealed, signs_from)
VALUES ($1, $2::text::jsonb, '\\xff', now() + interval '1 day') ON CONFLICT DO NOTHING"""
"""As a key that is published and does not sign yet: the app reads tokens by it and writes none."""


def _api(settings: Settings) -> dict[str, Any]:
    """The clients that the judge can be: with somewhere to return to, and with no secret that is only in the vault."""
    declared = [
        (name, one)
        for name, one in settings.identity.clients.items()
        if one.redirect_uris and (one.secret or not (one.confidential or one.resource_server))
    ]
    if not declared:
        return {}
    first, *others = (_client(name, one) for name, one in declared)
    metadata = "/.well-known/oauth-authorization-server"
    return {"api": {"metadata": metadata, **first, "plant_key": _PLANT_KEY, "others": others}}


def _client(name: str, section: ClientSection) -> dict[str, str]:
    uri = section.redirect_uris[0]
    loopback = uri.startswith("http://127.0.0.1/")
    return {
        "client_id": name,
        "client_secret": section.secret.get_secret_value() if section.secret else "",
        "redirect_uri": uri.replace("127.0.0.1/", "127.0.0.1:53682/", 1) if loopback else uri,
    }


def _sealed(database: DevelopmentDatabase, vault: DevelopmentVault) -> dict[str, Any]:
    """The sealed columns, and the operator's commands that change the keys they are under."""
    columns = [f"{APP_SCHEMA}.{door.label.text}" for model in sealed_models for door in doors_of(model)]
    environment = database.environment() | vault.environment(OPERATOR)
    keys = [sys.executable, "-m", "seawall", "keys"]
    return {
        "columns": sorted(columns),
        "keys_table": "seawall.tenant_keys",
        "keys_query": "SELECT tenant_id::text AS tenant, state, wrapped FROM seawall.tenant_keys",
        "broken_kind": SealFailure.kind,
        "rotate": {"argv": [*keys, "rotate", "{tenant}"], "env": environment},
        "destroy": {"argv": [*keys, "destroy", "{tenant}", "--confirm", "{slug}"], "env": environment},
    }


def _secrets(settings: Settings, database: DevelopmentDatabase, vault: DevelopmentVault) -> dict[str, Any]:
    mounts = Mounts(vault.prefix)
    identities = {
        name: {"role_id": one.role_id, "secret_id_file": str(one.secret_id_file)} for name, one in vault.roles.items()
    }
    return {
        "address": vault.server.address,
        "ca_file": str(vault.server.ca_file),
        "kv": mounts.kv,
        "transit": mounts.transit,
        "database": vault.database_mount,
        **identities,
        "roles": {role: database.server.address(database.name, role) for role in (APP, IDENTITY)},
        "rotate": ["seawall", "rotate"],
        "rotate_env": database.environment()
        | vault.environment(OPERATOR)
        | {"SEAWALL_ROOT": str(settings.root.resolve())},
    }


def write_target(path: Path, document: dict[str, Any]) -> None:
    """Write the file whole or not at all, readable by its owner only: it names passwords of scratch accounts."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    aside.replace(path)
