-- Device-bound sessions, known devices, risk; admission that checks them.

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

-- Admission: a session that is bound to a device needs a live cookie of that device as well. The binding counts only once
-- its cookie has come back, so an answer that was lost on its way to the browser locks nobody out; and `grace_s` later,
-- because requests that were sent before the cookie was there may arrive after it.
-- A doubted session keeps its facts and loses their force: AAL 1, no second factor, and, when the doubt came after the
-- sign-in, no recent sign-in either. A factor that is proved later ends the doubt.
DROP FUNCTION seawall.admit(bytea);
CREATE FUNCTION seawall.admit(hash bytea, device bytea DEFAULT NULL)
RETURNS TABLE (user_id uuid, tenant_id uuid, session_id uuid, aal smallint, authenticated_at timestamptz,
               second_factor_at timestamptz, memberships text[], context text,
               origin text, strayed text[], away_network bytea, away_at timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
#variable_conflict use_column
DECLARE
    tick boolean;
    doubted_at timestamptz;
    begun_at timestamptz;
    unproven boolean;
BEGIN
    SELECT s.user_id, s.tenant_id, s.id, s.aal, s.authenticated_at, s.second_factor_at, s.origin, s.strayed,
           s.away_network, s.away_at, s.doubted_at, s.created_at, b.session_id IS NOT NULL AND b.enforced_from IS NULL,
           -- a write a request would cost more than the rest of admission, so the idle clock ticks coarsely
           s.last_seen_at < now() - make_interval(secs => least(60, s.idle_timeout_s / 4.0)),
           ARRAY (SELECT concat_ws('|', m.role, m.scope_type, m.scope_id) FROM seawall.memberships m
                  WHERE m.user_id = s.user_id AND m.tenant_id = s.tenant_id
                    AND (m.expires_at IS NULL OR m.expires_at > now()))
    INTO user_id, tenant_id, session_id, aal, authenticated_at, second_factor_at, origin, strayed,
         away_network, away_at, doubted_at, begun_at, unproven, tick, memberships
    FROM seawall.sessions s
    JOIN seawall.users u ON u.id = s.user_id AND u.epoch = s.epoch AND u.disabled_at IS NULL
    JOIN seawall.tenants t ON t.id = s.tenant_id AND t.suspended_at IS NULL
    LEFT JOIN seawall.device_bindings b ON b.session_id = s.id
    WHERE s.token_hash = hash AND s.kind = 'browser' AND s.revoked_at IS NULL AND s.expires_at > now()
      AND s.last_seen_at > now() - make_interval(secs => s.idle_timeout_s)
      AND ((b.enforced_from <= now()) IS NOT TRUE
           OR b.cookie_hash = device AND b.cookie_until > now()
           OR b.previous_hash = device AND b.previous_until > now());
    IF NOT FOUND OR cardinality(memberships) = 0 THEN RETURN; END IF;
    IF tick THEN
        UPDATE seawall.sessions s SET last_seen_at = now() WHERE s.id = session_id;
    END IF;
    IF unproven AND device IS NOT NULL THEN
        UPDATE seawall.device_bindings b SET enforced_from = now() + make_interval(secs => b.grace_s)
        WHERE b.session_id = admit.session_id AND b.enforced_from IS NULL
          AND b.cookie_hash = device AND b.cookie_until > now();
    END IF;
    IF doubted_at > coalesce(second_factor_at, '-infinity') THEN
        aal := 1;
        second_factor_at := NULL;
        IF doubted_at > begun_at THEN authenticated_at := 'epoch'; END IF;
    END IF;
    context := seawall.mint_for_session(tenant_id, user_id, session_id, aal, memberships);
    RETURN NEXT;
END $$;
GRANT EXECUTE ON FUNCTION seawall.admit(bytea, bytea) TO seawall_app;

-- How many attempts of a limit are used up right now: failures, since what turned out well was given back.
CREATE FUNCTION seawall.throttle_used(key bytea, times integer, window_s integer) RETURNS integer
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT coalesce((SELECT ceil(extract(epoch FROM t.tat - clock_timestamp()) * throttle_used.times
                                 / throttle_used.window_s - 0.001)::integer
                     FROM seawall.throttles t WHERE t.key = throttle_used.key AND t.tat > clock_timestamp()), 0)
$$;
GRANT EXECUTE ON FUNCTION seawall.throttle_used(bytea, integer, integer) TO seawall_identity;

GRANT SELECT, INSERT, UPDATE, DELETE ON seawall.known_devices, seawall.device_bindings TO seawall_identity;
