-- Seawall's own schema: tenants, people, sessions, keys of the tenant context, audit events, jobs.
-- Run as seawall_owner. Nothing here is granted to PUBLIC.
CREATE SCHEMA seawall;
CREATE SCHEMA app;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
GRANT USAGE ON SCHEMA seawall TO seawall_app, seawall_identity, seawall_worker, seawall_auditor;
GRANT USAGE ON SCHEMA app TO seawall_app, seawall_worker;

-- People and tenants ------------------------------------------------------------------------------------------------
CREATE TABLE seawall.tenants (
    id           uuid PRIMARY KEY DEFAULT uuidv7(),
    slug         text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9][a-z0-9-]{1,62}$'),
    name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    suspended_at timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE seawall.users (
    id          uuid PRIMARY KEY DEFAULT uuidv7(),
    email       text NOT NULL CHECK (email = lower(email) AND length(email) BETWEEN 3 AND 254),
    name        text NOT NULL DEFAULT '' CHECK (length(name) <= 200),
    epoch       integer NOT NULL DEFAULT 1,   -- raised when a password, factor or role changes: ends every session
    disabled_at timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX users_email ON seawall.users (email);

CREATE TABLE seawall.identities (   -- a person at a provider: the pair is the key, never the e-mail address
    issuer    text NOT NULL,
    subject   text NOT NULL,
    user_id   uuid NOT NULL REFERENCES seawall.users ON DELETE CASCADE,
    linked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX identities_user ON seawall.identities (user_id);

CREATE TABLE seawall.memberships (
    id         uuid PRIMARY KEY DEFAULT uuidv7(),
    tenant_id  uuid NOT NULL REFERENCES seawall.tenants ON DELETE CASCADE,
    user_id    uuid NOT NULL REFERENCES seawall.users ON DELETE CASCADE,
    role       text NOT NULL CHECK (role ~ '^[a-z][a-z_]{0,62}$'),
    scope_type text CHECK (scope_type ~ '^[A-Z][A-Za-z]{0,62}$'),
    scope_id   uuid,
    expires_at timestamptz,
    granted_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((scope_type IS NULL) = (scope_id IS NULL)),
    UNIQUE NULLS NOT DISTINCT (tenant_id, user_id, role, scope_type, scope_id)
);
CREATE INDEX memberships_user ON seawall.memberships (user_id, tenant_id);

CREATE TABLE seawall.sessions (
    id               uuid PRIMARY KEY DEFAULT uuidv7(),
    token_hash       bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    user_id          uuid NOT NULL REFERENCES seawall.users ON DELETE CASCADE,
    tenant_id        uuid NOT NULL REFERENCES seawall.tenants ON DELETE CASCADE,
    aal              smallint NOT NULL DEFAULT 1 CHECK (aal BETWEEN 1 AND 3),
    amr              text[] NOT NULL DEFAULT '{}',
    authenticated_at timestamptz NOT NULL DEFAULT now(),
    second_factor_at timestamptz,
    epoch            integer NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    last_seen_at     timestamptz NOT NULL DEFAULT now(),
    idle_timeout_s   integer NOT NULL CHECK (idle_timeout_s > 0),
    expires_at       timestamptz NOT NULL,
    revoked_at       timestamptz,
    revoke_reason    text
);
CREATE INDEX sessions_user ON seawall.sessions (user_id) WHERE revoked_at IS NULL;
CREATE INDEX sessions_expiry ON seawall.sessions (expires_at);

-- The verified tenant context ---------------------------------------------------------------------------------------
-- Its keys never leave the database; each is kept as the two pads of HMAC-SHA-256 (RFC 2104).
CREATE TABLE seawall.context_keys (
    kid        integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    inner_pad  bytea NOT NULL,
    outer_pad  bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    retired_at timestamptz
);

-- Audit events ------------------------------------------------------------------------------------------------------
-- Lock-free: no chain, no counter, no hot row. The log is chained later by one sequencer, not by every writer.
CREATE TABLE seawall.audit_events (
    id         uuid PRIMARY KEY DEFAULT uuidv7(),
    tx         xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    tenant_id  uuid,
    user_id    uuid,
    session_id uuid,
    kind       text NOT NULL CHECK (kind ~ '^[a-z]+[.][a-z-]+$'),
    outcome    text NOT NULL CHECK (outcome IN ('success', 'refused', 'failure')),
    body       jsonb NOT NULL CHECK (pg_column_size(body) <= 16384)
);
CREATE INDEX audit_events_tx ON seawall.audit_events (tx);
CREATE INDEX audit_events_tenant ON seawall.audit_events (tenant_id, id);
GRANT SELECT ON seawall.audit_events TO seawall_auditor;

-- Jobs: a worker gets a tenant context only with the job it claims --------------------------------------------------
CREATE TABLE seawall.jobs (
    id            uuid PRIMARY KEY DEFAULT uuidv7(),
    tenant_id     uuid NOT NULL REFERENCES seawall.tenants ON DELETE CASCADE,
    enqueued_by   uuid,
    kind          text NOT NULL CHECK (kind ~ '^[a-z][a-z0-9_.-]{0,62}$'),
    payload       jsonb NOT NULL CHECK (pg_column_size(payload) <= 65536),
    attempts      integer NOT NULL DEFAULT 0,
    attempts_max  integer NOT NULL DEFAULT 10,
    run_after     timestamptz NOT NULL DEFAULT now(),
    claimed_until timestamptz,
    finished_at   timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX jobs_due ON seawall.jobs (run_after) WHERE finished_at IS NULL;

-- The identity role works on these tables directly; it has no right to anything in `app`.
GRANT SELECT ON seawall.tenants TO seawall_identity;
GRANT SELECT, INSERT, UPDATE ON seawall.users, seawall.sessions TO seawall_identity;
GRANT SELECT, INSERT, UPDATE, DELETE ON seawall.identities TO seawall_identity;
GRANT SELECT, INSERT, DELETE ON seawall.memberships TO seawall_identity;
