-- API clients: grants, refresh families, authorization codes, signing keys, revoked tokens, proofs seen.

-- A grant is a session of kind 'client', so that expiry, epoch, suspension and "end all sessions" hold for it as for any
-- other. Its token_hash is no hash of a cookie but a secret that only the app's process can derive from the grant's id.
ALTER TABLE seawall.sessions
    ADD COLUMN kind text NOT NULL DEFAULT 'browser' CHECK (kind IN ('browser', 'client')),
    ADD COLUMN client_id text CHECK (length(client_id) BETWEEN 1 AND 64),
    ADD CONSTRAINT sessions_client CHECK ((kind = 'client') = (client_id IS NOT NULL));

-- The refresh family of a grant. No token is stored: a token is its grant, its generation and a MAC over both.
CREATE TABLE seawall.client_grants (
    id         uuid PRIMARY KEY REFERENCES seawall.sessions ON DELETE CASCADE,
    jkt        text CHECK (length(jkt) = 43),            -- RFC 7638 thumbprint of the client's key; NULL: not bound
    generation integer NOT NULL DEFAULT 0 CHECK (generation >= 0),
    rotated_at timestamptz NOT NULL DEFAULT now(),
    used       boolean NOT NULL DEFAULT false            -- an access token of this generation has arrived
);

CREATE TABLE seawall.authorization_codes (               -- once, for 60 s; a used one stays a while to notice its replay
    code_hash    bytea PRIMARY KEY CHECK (length(code_hash) = 32),
    client_id    text NOT NULL,
    redirect_uri text NOT NULL,
    challenge    text NOT NULL CHECK (length(challenge) = 43),
    jkt          text CHECK (length(jkt) = 43),
    session_id   uuid NOT NULL REFERENCES seawall.sessions ON DELETE CASCADE,   -- of the browser that consented
    grant_id     uuid REFERENCES seawall.sessions ON DELETE SET NULL,
    used_at      timestamptz,
    expires_at   timestamptz NOT NULL
);
CREATE INDEX authorization_codes_expiry ON seawall.authorization_codes (expires_at);
CREATE INDEX authorization_codes_session ON seawall.authorization_codes (session_id);
CREATE INDEX authorization_codes_grant ON seawall.authorization_codes (grant_id);

CREATE TABLE seawall.signing_keys (                      -- private halves are sealed outside the database
    id         uuid PRIMARY KEY DEFAULT uuidv7(),
    generation bigint NOT NULL UNIQUE GENERATED ALWAYS AS IDENTITY,
    kid        text NOT NULL UNIQUE CHECK (kid ~ '^[A-Za-z0-9_-]{43}$'),
    public     jsonb NOT NULL,
    sealed     bytea NOT NULL,
    signs_from timestamptz NOT NULL,                     -- published before that
    created_at timestamptz NOT NULL DEFAULT now()
);

-- One row: 32 random bytes, sealed, of which the keys of refresh tokens, of admission and of nonces are derived. Not the
-- master secret itself, because a refresh token must outlive its rotation, and be the same whoever writes it.
CREATE TABLE seawall.token_root (
    id     uuid PRIMARY KEY DEFAULT uuidv7(),
    sealed bytea NOT NULL,
    one    boolean NOT NULL DEFAULT true UNIQUE CHECK (one)
);

CREATE TABLE seawall.revoked_tokens (                    -- single access tokens, until they would have expired
    id         uuid PRIMARY KEY,
    expires_at timestamptz NOT NULL
);
CREATE INDEX revoked_tokens_expiry ON seawall.revoked_tokens (expires_at);

CREATE TABLE seawall.proofs_seen (                       -- DPoP: SHA-256 of key and jti, while the proof could be replayed
    hash       bytea PRIMARY KEY CHECK (length(hash) = 32),
    expires_at timestamptz NOT NULL
);
CREATE INDEX proofs_seen_expiry ON seawall.proofs_seen (expires_at);

-- What "live" means for a grant, to admission, refresh and introspection alike.
CREATE FUNCTION seawall.grant_is_live(grant_id uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT EXISTS (
        SELECT FROM seawall.sessions s
        JOIN seawall.users u ON u.id = s.user_id AND u.epoch = s.epoch AND u.disabled_at IS NULL
        JOIN seawall.tenants t ON t.id = s.tenant_id AND t.suspended_at IS NULL
        WHERE s.id = grant_id AND s.kind = 'client' AND s.revoked_at IS NULL AND s.expires_at > now()
          AND s.last_seen_at > now() - make_interval(secs => s.idle_timeout_s)
          AND EXISTS (SELECT FROM seawall.memberships m WHERE m.user_id = s.user_id AND m.tenant_id = s.tenant_id
                      AND (m.expires_at IS NULL OR m.expires_at > now())))
$$;

-- And for an access token of it: not revoked by itself, of the grant's epoch, under a key that still counts.
CREATE FUNCTION seawall.access_token_is_live(grant_id uuid, token_id uuid, epoch integer, kid text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT seawall.grant_is_live(grant_id)
       AND EXISTS (SELECT FROM seawall.sessions s WHERE s.id = grant_id AND s.epoch = access_token_is_live.epoch)
       AND EXISTS (SELECT FROM seawall.signing_keys k WHERE k.kid = access_token_is_live.kid)
       AND NOT EXISTS (SELECT FROM seawall.revoked_tokens r WHERE r.id = token_id)
$$;
GRANT EXECUTE ON FUNCTION seawall.grant_is_live(uuid), seawall.access_token_is_live(uuid, uuid, integer, text)
    TO seawall_identity;

-- Admission of an access token that the app has verified: the same row as seawall.admit(). `secret` is derived from the
-- grant's id with a key that no SQL can reach, so an injected call cannot be admitted as a grant whose id it has read.
CREATE FUNCTION seawall.admit_grant(secret bytea, token_id uuid, epoch integer, kid text, generation integer)
RETURNS TABLE (user_id uuid, tenant_id uuid, session_id uuid, aal smallint, authenticated_at timestamptz,
               second_factor_at timestamptz, memberships text[], context text)
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog AS $$
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
    WHERE s.token_hash = admit_grant.secret AND s.kind = 'client'
      AND seawall.access_token_is_live(s.id, admit_grant.token_id, admit_grant.epoch, admit_grant.kid);
    IF NOT FOUND OR live.memberships IS NULL THEN RETURN; END IF;
    -- neither the idle clock nor the mark of use is worth waiting for the disk
    PERFORM set_config('synchronous_commit', 'off', true);
    IF live.last_seen_at < now() - make_interval(secs => least(60, live.idle_timeout_s / 4.0)) THEN
        UPDATE seawall.sessions SET last_seen_at = now() WHERE id = live.id;
    END IF;
    UPDATE seawall.client_grants g SET used = true
    WHERE g.id = live.id AND g.generation = admit_grant.generation AND NOT g.used;
    RETURN QUERY SELECT live.user_id, live.tenant_id, live.id, live.aal, live.authenticated_at, live.second_factor_at,
                        live.memberships,
                        seawall.mint_for_session(live.tenant_id, live.user_id, live.id, live.aal, live.memberships);
END $$;

-- True once for each proof. Swept as it grows: about four expired rows go for each one that comes.
CREATE FUNCTION seawall.use_proof(hash bytea, keep_s integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog AS $$
#variable_conflict use_column
BEGIN
    IF random() < 0.02 THEN
        DELETE FROM seawall.proofs_seen d WHERE d.hash IN (
            SELECT o.hash FROM seawall.proofs_seen o WHERE o.expires_at < now() LIMIT 200 FOR UPDATE SKIP LOCKED);
    END IF;
    INSERT INTO seawall.proofs_seen (hash, expires_at)
    VALUES (use_proof.hash, now() + make_interval(secs => least(use_proof.keep_s, 600))) ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;
GRANT EXECUTE ON FUNCTION seawall.admit_grant(bytea, uuid, integer, text, integer), seawall.use_proof(bytea, integer)
    TO seawall_app;
GRANT EXECUTE ON FUNCTION seawall.use_proof(bytea, integer) TO seawall_identity;

GRANT SELECT, INSERT, UPDATE ON seawall.client_grants TO seawall_identity;
GRANT SELECT, INSERT, UPDATE, DELETE ON seawall.authorization_codes TO seawall_identity;
GRANT SELECT, INSERT, DELETE ON seawall.revoked_tokens TO seawall_identity;
GRANT SELECT, INSERT, UPDATE, DELETE ON seawall.signing_keys TO seawall_identity;
GRANT SELECT, INSERT, UPDATE ON seawall.token_root TO seawall_identity;
