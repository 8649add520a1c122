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
from seawall.development.seeding import Sow
from seawall.development.vault import DevelopmentVault
from seawall.secrets import OPERATOR
from seawall.settings import Settings
from seawall.store.roles import APP
from seawall.store.sealed import doors_of, sealed_models
from seawall.store.walls import APP_SCHEMA

TARGET_VERSION = 1


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
        "database": {
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
        },
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
        },
        "tenants": [
            {"id": str(tenant.id), "name": tenant.name, "slug": tenant.slug, "objects": tenant.objects}
            for tenant in sow.tenants.values()
        ],
        "personas": [
            {
                "name": persona.name,
                "tenant": str(persona.tenant_id),
                "role": persona.role,
                "user_id": str(persona.user_id),
                "login": persona.login,
                "password": persona.password,
                "objects": persona.objects,
            }
            for persona in sow.personas.values()
        ],
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


def write_target(path: Path, document: dict[str, Any]) -> None:
    """Write the file whole or not at all, readable by its owner only: it names passwords of scratch accounts."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    aside.replace(path)
