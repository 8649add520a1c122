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

GRANT SELECT, INSERT, UPDATE ON seawall.client_grants TO seawall_identity;
GRANT SELECT, INSERT, UPDATE, DELETE ON seawall.authorization_codes TO seawall_identity;
GRANT SELECT, INSERT, DELETE ON seawall.revoked_tokens TO seawall_identity;
GRANT SELECT, INSERT, UPDATE, DELETE ON seawall.signing_keys TO seawall_identity;
GRANT SELECT, INSERT, UPDATE ON seawall.token_root TO seawall_identity;
