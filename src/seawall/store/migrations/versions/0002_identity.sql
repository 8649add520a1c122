-- Identity's own tables. The app's role gets nothing here.

-- A sign-in on its way. State, nonce and verifier are derived from an id of which only the hash is here.
CREATE TABLE seawall.sign_in_transactions (
    id_hash      bytea PRIMARY KEY CHECK (length(id_hash) = 32),
    purpose      text NOT NULL CHECK (purpose IN ('callback', 'tenant')),
    provider     text NOT NULL,
    redirect_uri text NOT NULL,
    next         text NOT NULL CHECK (next LIKE '/%' AND next NOT LIKE '//%'),
    replaces     bytea,
    max_age_s    integer,
    user_id      uuid REFERENCES seawall.users ON DELETE CASCADE,
    assurance    text NOT NULL DEFAULT '',
    expires_at   timestamptz NOT NULL
);
CREATE INDEX sign_in_transactions_expiry ON seawall.sign_in_transactions (expires_at);

-- Second factors. Secrets are sealed outside the database and bound to their owner.
CREATE TABLE seawall.totp_factors (
    user_id      uuid PRIMARY KEY REFERENCES seawall.users ON DELETE CASCADE,
    sealed       bytea NOT NULL,
    last_step    bigint NOT NULL,       -- the newest time step used: a code works once
    confirmed_at timestamptz
);

CREATE TABLE seawall.totp_pending (     -- being enrolled, by exactly one session
    user_id    uuid PRIMARY KEY REFERENCES seawall.users ON DELETE CASCADE,
    session_id uuid NOT NULL REFERENCES seawall.sessions ON DELETE CASCADE,
    sealed     bytea NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE TABLE seawall.totp_recovery_codes (
    user_id   uuid NOT NULL REFERENCES seawall.users ON DELETE CASCADE,
    code_hash bytea NOT NULL CHECK (length(code_hash) = 32),
    used_at   timestamptz,
    PRIMARY KEY (user_id, code_hash)
);

-- Step-up: what was asked for, and what was approved. Both bound to a session and to the SHA-256 of one exact action.
CREATE TABLE seawall.step_up_challenges (
    id          uuid PRIMARY KEY DEFAULT uuidv7(),
    session_id  uuid NOT NULL REFERENCES seawall.sessions ON DELETE CASCADE,
    user_id     uuid NOT NULL REFERENCES seawall.users ON DELETE CASCADE,
    tenant_id   uuid NOT NULL REFERENCES seawall.tenants ON DELETE CASCADE,
    digest      bytea NOT NULL CHECK (length(digest) = 32),
    action      text NOT NULL,
    resource    text NOT NULL,
    params      jsonb NOT NULL,
    summary     text NOT NULL,
    resume      jsonb NOT NULL,
    acr         text NOT NULL,
    max_age_s   integer NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    approved_at timestamptz
);
CREATE INDEX step_up_challenges_session ON seawall.step_up_challenges (session_id);

CREATE TABLE seawall.step_up_approvals (
    id           uuid PRIMARY KEY DEFAULT uuidv7(),
    challenge_id uuid NOT NULL UNIQUE REFERENCES seawall.step_up_challenges ON DELETE CASCADE,
    session_id   uuid NOT NULL REFERENCES seawall.sessions ON DELETE CASCADE,
    user_id      uuid NOT NULL REFERENCES seawall.users ON DELETE CASCADE,
    tenant_id    uuid NOT NULL REFERENCES seawall.tenants ON DELETE CASCADE,
    digest       bytea NOT NULL CHECK (length(digest) = 32),
    expires_at   timestamptz NOT NULL,
    consumed_at  timestamptz
);
CREATE INDEX step_up_approvals_live ON seawall.step_up_approvals (session_id, digest) WHERE consumed_at IS NULL;

-- Throttling by GCRA: one timestamp per key, the theoretical arrival time of the next attempt. UNLOGGED: a crash forgets it.
CREATE UNLOGGED TABLE seawall.throttles (
    key bytea PRIMARY KEY CHECK (length(key) = 32),
    tat timestamptz NOT NULL
);
CREATE INDEX throttles_tat ON seawall.throttles (tat);

-- The embedded development provider. Filled by a development seed only; the provider refuses to start in production.
CREATE TABLE seawall.dev_accounts (
    user_id       uuid PRIMARY KEY REFERENCES seawall.users ON DELETE CASCADE,
    password_hash text NOT NULL CHECK (password_hash LIKE '$argon2id$%'),
    demo          boolean NOT NULL DEFAULT false   -- has the demo password: the sign-in page offers it by one click
);

CREATE TABLE seawall.dev_codes (        -- authorization codes: once, for 60 s, bound to client, address and challenge
    code_hash    bytea PRIMARY KEY CHECK (length(code_hash) = 32),
    user_id      uuid NOT NULL REFERENCES seawall.users ON DELETE CASCADE,
    client_id    text NOT NULL,
    redirect_uri text NOT NULL,
    challenge    text NOT NULL,
    nonce        text,
    auth_time    timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL
);

GRANT SELECT, INSERT, UPDATE, DELETE ON
    seawall.sign_in_transactions, seawall.totp_factors, seawall.totp_pending, seawall.totp_recovery_codes,
    seawall.step_up_challenges, seawall.step_up_approvals, seawall.dev_codes
    TO seawall_identity;
GRANT SELECT, INSERT, UPDATE ON seawall.dev_accounts TO seawall_identity;
