-- Admission of a browser: one round trip from a cookie's hash to a principal with a signed context. An API client's is in
-- clients.sql, and gives the same row.

-- A session that is bound to a device needs a live cookie of that device as well. The binding counts only once its cookie
-- has come back, so an answer that was lost on its way to the browser locks nobody out; and `grace_s` later, because
-- requests that were sent before the cookie was there may arrive after it.
-- A doubted session keeps its facts and loses their force: AAL 1, no second factor, and, when the doubt came after the
-- sign-in, no recent sign-in either. A factor that is proved later ends the doubt.
CREATE OR REPLACE FUNCTION seawall.admit(hash bytea, device bytea DEFAULT NULL)
RETURNS TABLE (user_id uuid, tenant_id uuid, session_id uuid, aal smallint, authenticated_at timestamptz,
               second_factor_at timestamptz, memberships text[], context text,
               origin text, strayed text[], away_network bytea, away_at timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
