-- Seawall's own schema: tenants, people, sessions, the verified tenant context, admission, audit events, jobs.
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
-- HMAC-SHA-256 (RFC 2104) by hand from core sha256(): pgcrypto is not in every build. The key never leaves the database.
CREATE TABLE seawall.context_keys (
    kid        integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    inner_pad  bytea NOT NULL,
    outer_pad  bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    retired_at timestamptz
);

CREATE FUNCTION seawall.xor_pad(key bytea, pad integer) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog AS $$
DECLARE block bytea := decode(repeat('00', 64), 'hex');
BEGIN
    FOR i IN 0..63 LOOP
        block := set_byte(block, i, (CASE WHEN i < length(key) THEN get_byte(key, i) ELSE 0 END) # pad);
    END LOOP;
    RETURN block;
END $$;

CREATE FUNCTION seawall.new_context_key() RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog AS $$
DECLARE
    -- gen_random_uuid() draws from pg_strong_random: three carry 366 random bits
    key bytea := sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));
    made integer;
BEGIN
    UPDATE seawall.context_keys SET retired_at = now() WHERE retired_at IS NULL;
    INSERT INTO seawall.context_keys (inner_pad, outer_pad)
    VALUES (seawall.xor_pad(key, 54), seawall.xor_pad(key, 92)) RETURNING kid INTO made;
    RETURN made;
END $$;
SELECT seawall.new_context_key();

-- context = kid . tenant . user . session . kind . expiry(s) . hex(hmac); user or session may be empty (jobs)
CREATE FUNCTION seawall.mint(tenant uuid, person uuid, session uuid, kind text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
DECLARE
    key record;
    said text;
BEGIN
    SELECT kid, inner_pad, outer_pad INTO STRICT key
    FROM seawall.context_keys WHERE retired_at IS NULL ORDER BY kid DESC LIMIT 1;
    said := concat_ws('.', key.kid, tenant, coalesce(person::text, ''), coalesce(session::text, ''), kind,
                      (extract(epoch FROM clock_timestamp()) + 60)::bigint);
    RETURN said || '.' || encode(sha256(key.outer_pad || sha256(key.inner_pad || convert_to(said, 'UTF8'))), 'hex');
END $$;

-- Gives the parts of a context, or raises 42501. Expiry is against the transaction's start, so that a transaction which
-- began in time may end; a context with no MAC at all compares as NULL, hence IS DISTINCT FROM.
CREATE FUNCTION seawall.verify(context text) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
DECLARE
    part text[] := string_to_array(context, '.');
    key record;
BEGIN
    IF cardinality(part) IS DISTINCT FROM 7 OR part[1] !~ '^[0-9]{1,9}$' OR part[6] !~ '^[0-9]{1,12}$' THEN
        RAISE EXCEPTION 'seawall: malformed tenant context' USING ERRCODE = '42501';
    END IF;
    SELECT inner_pad, outer_pad INTO key FROM seawall.context_keys
    WHERE kid = part[1]::integer AND (retired_at IS NULL OR retired_at > now() - interval '2 minutes');
    IF NOT FOUND OR part[7] IS DISTINCT FROM encode(sha256(key.outer_pad || sha256(key.inner_pad
            || convert_to(array_to_string(part[1:6], '.'), 'UTF8'))), 'hex') THEN
        RAISE EXCEPTION 'seawall: forged tenant context' USING ERRCODE = '42501';
    END IF;
    IF part[6]::bigint < extract(epoch FROM now()) THEN
        RAISE EXCEPTION 'seawall: expired tenant context' USING ERRCODE = '42501';
    END IF;
    RETURN part;
END $$;

-- nullif: after SET LOCAL an unset setting reads as '', not NULL
CREATE FUNCTION seawall.tenant_id() RETURNS uuid
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE context text := nullif(current_setting('seawall.ctx', true), '');
BEGIN
    IF context IS NULL THEN RETURN NULL; END IF;
    RETURN (seawall.verify(context))[2]::uuid;
END $$;

CREATE FUNCTION seawall.user_id() RETURNS uuid
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE context text := nullif(current_setting('seawall.ctx', true), '');
BEGIN
    IF context IS NULL THEN RETURN NULL; END IF;
    RETURN nullif((seawall.verify(context))[3], '')::uuid;
END $$;

CREATE FUNCTION seawall.session_id() RETURNS uuid
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE context text := nullif(current_setting('seawall.ctx', true), '');
BEGIN
    IF context IS NULL THEN RETURN NULL; END IF;
    RETURN nullif((seawall.verify(context))[4], '')::uuid;
END $$;
GRANT EXECUTE ON FUNCTION seawall.tenant_id(), seawall.user_id(), seawall.session_id() TO seawall_app, seawall_worker;
GRANT EXECUTE ON FUNCTION seawall.tenant_id() TO seawall_auditor;

-- Admission: one round trip from a token's hash to a principal with a signed context --------------------------------
CREATE FUNCTION seawall.admit(hash bytea)
RETURNS TABLE (user_id uuid, tenant_id uuid, session_id uuid, aal smallint, authenticated_at timestamptz,
               second_factor_at timestamptz, memberships text[], context text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
#variable_conflict use_column
DECLARE live record;
BEGIN
    SELECT s.id, s.user_id, s.tenant_id, s.aal, s.authenticated_at, s.second_factor_at, s.last_seen_at, s.idle_timeout_s,
           (SELECT array_agg(concat_ws('|', m.role, m.scope_type, m.scope_id))
            FROM seawall.memberships m
            WHERE m.user_id = s.user_id AND m.tenant_id = s.tenant_id
              AND (m.expires_at IS NULL OR m.expires_at > now())) AS memberships
    INTO live
    FROM seawall.sessions s
    JOIN seawall.users u ON u.id = s.user_id AND u.epoch = s.epoch AND u.disabled_at IS NULL
    JOIN seawall.tenants t ON t.id = s.tenant_id AND t.suspended_at IS NULL
    WHERE s.token_hash = hash AND s.revoked_at IS NULL AND s.expires_at > now()
      AND s.last_seen_at > now() - make_interval(secs => s.idle_timeout_s);
    IF NOT FOUND OR live.memberships IS NULL THEN RETURN; END IF;
    -- a write a request would cost more than the rest of admission, so the idle clock ticks coarsely
    IF live.last_seen_at < now() - make_interval(secs => least(60, live.idle_timeout_s / 4.0)) THEN
        UPDATE seawall.sessions SET last_seen_at = now() WHERE id = live.id;
    END IF;
    RETURN QUERY SELECT live.user_id, live.tenant_id, live.id, live.aal, live.authenticated_at, live.second_factor_at,
                        live.memberships, seawall.mint(live.tenant_id, live.user_id, live.id, 'session');
END $$;
GRANT EXECUTE ON FUNCTION seawall.admit(bytea) TO seawall_app;

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

-- The app can only append, and only as the person whom the verified context names: each event is {"kind", "outcome", …}.
CREATE FUNCTION seawall.audit_append(events text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    context text := nullif(current_setting('seawall.ctx', true), '');
    part text[] := CASE WHEN context IS NULL THEN NULL ELSE seawall.verify(context) END;
BEGIN
    INSERT INTO seawall.audit_events (tenant_id, user_id, session_id, kind, outcome, body)
    SELECT nullif(part[2], '')::uuid, nullif(part[3], '')::uuid, nullif(part[4], '')::uuid,
           e.body ->> 'kind', e.body ->> 'outcome', e.body - 'kind' - 'outcome'
    FROM unnest(events) WITH ORDINALITY AS given(event, n), LATERAL (SELECT given.event::jsonb AS body) e
    ORDER BY given.n;
END $$;

-- Ordinary allowed reads, in batches of many requests: each event comes with the context it happened under.
CREATE FUNCTION seawall.audit_append_batch(contexts text[], events text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    INSERT INTO seawall.audit_events (tenant_id, user_id, session_id, kind, outcome, body)
    SELECT nullif(c.part[2], '')::uuid, nullif(c.part[3], '')::uuid, nullif(c.part[4], '')::uuid,
           e.body ->> 'kind', e.body ->> 'outcome', e.body - 'kind' - 'outcome'
    FROM unnest(contexts, events) WITH ORDINALITY AS given(context, event, n),
         LATERAL (SELECT seawall.verify(given.context) AS part) c, LATERAL (SELECT given.event::jsonb AS body) e
    ORDER BY given.n;
END $$;

-- Identity knows who somebody is before there is a context to verify.
CREATE FUNCTION seawall.audit_append_as(tenant uuid, person uuid, session uuid, events text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    INSERT INTO seawall.audit_events (tenant_id, user_id, session_id, kind, outcome, body)
    SELECT tenant, person, session, e.body ->> 'kind', e.body ->> 'outcome', e.body - 'kind' - 'outcome'
    FROM unnest(events) WITH ORDINALITY AS given(event, n), LATERAL (SELECT given.event::jsonb AS body) e
    ORDER BY given.n;
END $$;
GRANT EXECUTE ON FUNCTION seawall.audit_append(text[]) TO seawall_app, seawall_worker;
GRANT EXECUTE ON FUNCTION seawall.audit_append_batch(text[], text[]) TO seawall_app;
GRANT EXECUTE ON FUNCTION seawall.audit_append_as(uuid, uuid, uuid, text[]) TO seawall_identity;

-- "No audit event, no commit": a deferred constraint trigger on tables that a model declares `__audited__`.
CREATE FUNCTION seawall.require_audit() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM seawall.audit_events
                   WHERE tx = pg_current_xact_id() AND (TG_ARGV[0] = '' OR kind = TG_ARGV[0])) THEN
        RAISE EXCEPTION 'seawall: a change to % without its audit event', TG_TABLE_NAME USING ERRCODE = '42501';
    END IF;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER audited AFTER INSERT OR UPDATE OR DELETE ON seawall.memberships
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION seawall.require_audit('access.grant');

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

CREATE FUNCTION seawall.enqueue(kind text, payload jsonb) RETURNS uuid
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
    INSERT INTO seawall.jobs (tenant_id, enqueued_by, kind, payload)
    VALUES (seawall.tenant_id(), seawall.user_id(), kind, payload) RETURNING id
$$;

CREATE FUNCTION seawall.claim(kinds text[], lease_s integer)
RETURNS TABLE (id uuid, kind text, payload jsonb, attempt integer, context text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    UPDATE seawall.jobs j
    SET attempts = j.attempts + 1, claimed_until = now() + make_interval(secs => least(greatest(lease_s, 1), 600))
    WHERE j.id = (SELECT d.id FROM seawall.jobs d JOIN seawall.tenants t ON t.id = d.tenant_id AND t.suspended_at IS NULL
                  WHERE d.finished_at IS NULL AND d.run_after <= now() AND d.kind = ANY (kinds)
                    AND d.attempts < d.attempts_max AND (d.claimed_until IS NULL OR d.claimed_until < now())
                  ORDER BY d.run_after LIMIT 1 FOR UPDATE OF d SKIP LOCKED)
    RETURNING j.id, j.kind, j.payload, j.attempts, seawall.mint(j.tenant_id, j.enqueued_by, j.id, 'job');
END $$;

-- Fenced: only the holder of the newest attempt can finish a job, and only within its own context.
CREATE FUNCTION seawall.finish(job uuid, attempt integer) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
    WITH done AS (UPDATE seawall.jobs SET finished_at = now()
                  WHERE id = job AND attempts = attempt AND finished_at IS NULL
                    AND id = seawall.session_id() AND tenant_id = seawall.tenant_id() RETURNING 1)
    SELECT EXISTS (SELECT FROM done)
$$;
GRANT EXECUTE ON FUNCTION seawall.enqueue(text, jsonb) TO seawall_app, seawall_worker;
GRANT EXECUTE ON FUNCTION seawall.claim(text[], integer), seawall.finish(uuid, integer) TO seawall_worker;

-- The identity role works on these tables directly; it has no right to anything in `app`.
GRANT SELECT ON seawall.tenants TO seawall_identity;
GRANT SELECT, INSERT, UPDATE ON seawall.users, seawall.sessions TO seawall_identity;
GRANT SELECT, INSERT, UPDATE, DELETE ON seawall.identities TO seawall_identity;
GRANT SELECT, INSERT, DELETE ON seawall.memberships TO seawall_identity;
