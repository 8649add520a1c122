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
