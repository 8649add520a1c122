-- What ties a session to the provider that vouched for it, and sign-ins that link instead of signing in.

-- By these a provider ends our sessions (OpenID Connect Back-Channel Logout 1.0 §2.4).
CREATE TABLE seawall.provider_sessions (
    session_id uuid PRIMARY KEY REFERENCES seawall.sessions ON DELETE CASCADE,
    issuer     text NOT NULL,
    subject    text NOT NULL,
    sid        text
);
CREATE INDEX provider_sessions_subject ON seawall.provider_sessions (issuer, subject);

-- A logout token ends sessions once. Keys are hashes; rows are swept when the token would have expired anyway.
CREATE TABLE seawall.logout_tokens_seen (
    key        bytea PRIMARY KEY CHECK (length(key) = 32),
    expires_at timestamptz NOT NULL
);
CREATE INDEX logout_tokens_seen_expiry ON seawall.logout_tokens_seen (expires_at);

ALTER TABLE seawall.sign_in_transactions DROP CONSTRAINT sign_in_transactions_purpose_check;
ALTER TABLE seawall.sign_in_transactions ADD CONSTRAINT sign_in_transactions_purpose_check
    CHECK (purpose IN ('callback', 'tenant', 'link', 'passkey')
           AND (purpose IN ('callback', 'passkey')) = (user_id IS NULL));

-- Ended sessions go in the end, a few at each sign-in.
GRANT DELETE ON seawall.sessions TO seawall_identity;
CREATE INDEX sessions_ended ON seawall.sessions (revoked_at) WHERE revoked_at IS NOT NULL;

GRANT SELECT, INSERT ON seawall.provider_sessions TO seawall_identity;
GRANT SELECT, INSERT, DELETE ON seawall.logout_tokens_seen TO seawall_identity;
