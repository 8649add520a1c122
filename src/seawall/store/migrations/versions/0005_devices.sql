-- Device-bound sessions, known devices, risk.

-- What a session's sign-in looked like. Written once: risk compares with these values and never moves them, so that nobody
-- can drift away from them step by step. A browser's family and platform and a keyed hash of its network, never an address.
ALTER TABLE seawall.sessions
    ADD COLUMN family       text CHECK (length(family) <= 16),
    ADD COLUMN platform     text CHECK (length(platform) <= 16),
    ADD COLUMN network      bytea CHECK (length(network) = 16),
    ADD COLUMN country      text CHECK (country ~ '^[A-Z]{2}$'),
    ADD COLUMN asn          bigint CHECK (asn BETWEEN 1 AND 4294967295),
    ADD COLUMN risk_score   smallint CHECK (risk_score BETWEEN 0 AND 100),
    ADD COLUMN risk_reasons text[] NOT NULL DEFAULT '{}' CHECK (cardinality(risk_reasons) <= 16),
    ADD COLUMN strayed      text[] CHECK (cardinality(strayed) <= 16),    -- reasons that came after the sign-in
    ADD COLUMN strayed_at   timestamptz,
    ADD COLUMN doubted_at   timestamptz,                                  -- until a later factor it counts as AAL 1
    ADD COLUMN away_network bytea CHECK (length(away_network) = 16),      -- where it was used from last, if elsewhere
    ADD COLUMN away_at      timestamptz;
-- One column instead of four: every column of admission costs a microsecond on both sides.
ALTER TABLE seawall.sessions ADD COLUMN origin text GENERATED ALWAYS AS (
    coalesce(platform, '') || ' ' || coalesce(encode(network, 'hex'), '') || ' ' || coalesce(country, '') || ' '
    || coalesce(asn::text, '')) STORED;

-- Browsers that a person has signed in with. The hash covers the person too, so that two people on one machine share nothing.
CREATE TABLE seawall.known_devices (
    user_id       uuid NOT NULL REFERENCES seawall.users ON DELETE CASCADE,
    device_hash   bytea NOT NULL CHECK (length(device_hash) = 32),
    family        text NOT NULL,
    platform      text NOT NULL,
    country       text,
    asn           bigint,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, device_hash)
);

-- A session's key pair lives in a browser; here are its public half and the hashes of the cookies it has earned lately.
CREATE TABLE seawall.device_bindings (
    session_id       uuid PRIMARY KEY REFERENCES seawall.sessions ON DELETE CASCADE,
    name             text NOT NULL UNIQUE CHECK (length(name) BETWEEN 16 AND 64),
    algorithm        text NOT NULL CHECK (algorithm IN ('ES256', 'RS256')),
    public_key       text NOT NULL CHECK (length(public_key) <= 2048),
    generation       bigint NOT NULL DEFAULT 0,   -- refreshes so far; a challenge names one, so a proof works once
    cookie_hash      bytea NOT NULL CHECK (length(cookie_hash) = 32),
    cookie_until     timestamptz NOT NULL,
    previous_hash    bytea CHECK (length(previous_hash) = 32),
    previous_until   timestamptz,
    grace_s          integer NOT NULL CHECK (grace_s BETWEEN 0 AND 60),
    enforced_from    timestamptz,                 -- set when the cookie came back for the first time
    bound_at         timestamptz NOT NULL DEFAULT now()
);

GRANT SELECT, INSERT, UPDATE, DELETE ON seawall.known_devices, seawall.device_bindings TO seawall_identity;
