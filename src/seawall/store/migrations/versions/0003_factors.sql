-- Passkeys, and what a privileged role demands.

-- Recovery codes belong to the person, whichever factor they lose.
ALTER TABLE seawall.totp_recovery_codes RENAME TO recovery_codes;

-- The opaque name of a person at their authenticators (WebAuthn §5.4.3): random, because authenticators show and keep it.
CREATE TABLE seawall.passkey_handles (
    user_id uuid PRIMARY KEY REFERENCES seawall.users ON DELETE CASCADE,
    handle  bytea NOT NULL UNIQUE CHECK (length(handle) = 32)
);

CREATE TABLE seawall.passkeys (
    id            uuid PRIMARY KEY DEFAULT uuidv7(),
    user_id       uuid NOT NULL REFERENCES seawall.users ON DELETE CASCADE,
    credential_id bytea NOT NULL UNIQUE CHECK (length(credential_id) BETWEEN 1 AND 1023),  -- WebAuthn §7.1: of one account
    public_key    bytea NOT NULL CHECK (length(public_key) <= 4096),
    sign_count    bigint NOT NULL CHECK (sign_count >= 0),
    name          text NOT NULL CHECK (length(name) BETWEEN 1 AND 60),
    aaguid        uuid NOT NULL,
    synced        boolean NOT NULL,
    transports    text[] NOT NULL DEFAULT '{}',
    created_at    timestamptz NOT NULL DEFAULT now(),
    last_used_at  timestamptz,
    suspected_at  timestamptz   -- its counter went backwards: a copy may exist
);
CREATE INDEX passkeys_user ON seawall.passkeys (user_id);

-- A challenge on its way, good once. Its 32 bytes commit to purpose, session and, for a step-up, the exact action; here is
-- only their SHA-256, and the nonce from which they are made again.
CREATE TABLE seawall.passkey_challenges (
    challenge_hash bytea PRIMARY KEY CHECK (length(challenge_hash) = 32),
    purpose        text NOT NULL CHECK (purpose IN ('enrol', 'prove', 'step-up')),
    session_id     uuid NOT NULL REFERENCES seawall.sessions ON DELETE CASCADE,
    nonce          bytea NOT NULL CHECK (length(nonce) = 32),
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at     timestamptz NOT NULL
);
CREATE INDEX passkey_challenges_session ON seawall.passkey_challenges (session_id);
CREATE INDEX passkey_challenges_expiry ON seawall.passkey_challenges (expires_at);

ALTER TABLE seawall.sign_in_transactions DROP CONSTRAINT sign_in_transactions_purpose_check;
ALTER TABLE seawall.sign_in_transactions ADD CONSTRAINT sign_in_transactions_purpose_check
    CHECK (purpose IN ('callback', 'tenant', 'passkey'));

-- A recovery code was used in this session: for a while it stands for the factor that was lost.
ALTER TABLE seawall.sessions ADD COLUMN recovered_at timestamptz;

GRANT SELECT, INSERT, UPDATE, DELETE ON
    seawall.passkeys, seawall.passkey_handles, seawall.passkey_challenges TO seawall_identity;

-- Privileged roles ----------------------------------------------------------------------------------------------------
-- The setting `identity.privileged_roles`, written by identity when the app starts. Filled here, so that it holds before.
CREATE TABLE seawall.privileged_roles (
    role text PRIMARY KEY CHECK (role ~ '^[a-z][a-z_]{0,62}$')
);
INSERT INTO seawall.privileged_roles VALUES ('owner'), ('admin');
GRANT SELECT, INSERT, DELETE ON seawall.privileged_roles TO seawall_identity;

-- The context of a session, or NULL when it belongs to a privileged person and has proved one factor only: then there is
-- no tenant, hence no row, whatever the app's code does. `memberships` as in seawall.admit: role|scope type|scope id.
CREATE FUNCTION seawall.mint_for_session(tenant uuid, person uuid, session uuid, aal smallint, memberships text[])
RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
BEGIN
    IF aal < 2 AND EXISTS (SELECT FROM unnest(memberships) AS held
                           JOIN seawall.privileged_roles p ON p.role = split_part(held, '|', 1)) THEN
        RETURN NULL;
    END IF;
    RETURN seawall.mint(tenant, person, session, 'session');
END $$;

-- As before, but for its last line.
CREATE OR REPLACE FUNCTION seawall.admit(hash bytea)
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
                        live.memberships,
                        seawall.mint_for_session(live.tenant_id, live.user_id, live.id, live.aal, live.memberships);
END $$;
