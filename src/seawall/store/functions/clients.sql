-- Admission of an API client: grants, their access tokens, proofs of possession.

-- What "live" means for a grant, to admission, refresh and introspection alike.
CREATE OR REPLACE FUNCTION seawall.grant_is_live(grant_id uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (
        SELECT FROM seawall.sessions s
        JOIN seawall.users u ON u.id = s.user_id AND u.epoch = s.epoch AND u.disabled_at IS NULL
        JOIN seawall.tenants t ON t.id = s.tenant_id AND t.suspended_at IS NULL
        WHERE s.id = grant_id AND s.kind = 'client' AND s.revoked_at IS NULL AND s.expires_at > now()
          AND s.last_seen_at > now() - make_interval(secs => s.idle_timeout_s)
          AND EXISTS (SELECT FROM seawall.memberships m WHERE m.user_id = s.user_id AND m.tenant_id = s.tenant_id
                      AND (m.expires_at IS NULL OR m.expires_at > now())))
$$;

-- And for an access token of it: not revoked by itself, of the grant's epoch and own person, under a key that still counts.
CREATE OR REPLACE FUNCTION seawall.access_token_is_live(grant_id uuid, token_id uuid, epoch integer, kid text, subject text)
RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT seawall.grant_is_live(grant_id)
       AND EXISTS (SELECT FROM seawall.sessions s WHERE s.id = grant_id AND s.epoch = access_token_is_live.epoch)
       AND EXISTS (SELECT FROM seawall.client_grants g
                   WHERE g.id = grant_id AND g.subject = access_token_is_live.subject)
       AND EXISTS (SELECT FROM seawall.signing_keys k WHERE k.kid = access_token_is_live.kid)
       AND NOT EXISTS (SELECT FROM seawall.revoked_tokens r WHERE r.id = token_id)
$$;
GRANT EXECUTE ON FUNCTION seawall.grant_is_live(uuid), seawall.access_token_is_live(uuid, uuid, integer, text, text)
    TO seawall_identity;

-- Admission of an access token that the app has verified: the same row as seawall.admit(). `secret` is derived from the
-- grant's id with a key that no SQL can reach, so an injected call cannot be admitted as a grant whose id it has read.
CREATE OR REPLACE FUNCTION seawall.admit_grant(secret bytea, token_id uuid, epoch integer, kid text, generation integer,
                                               subject text)
RETURNS TABLE (user_id uuid, tenant_id uuid, session_id uuid, aal smallint, authenticated_at timestamptz,
               second_factor_at timestamptz, memberships text[], context text)
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
      AND seawall.access_token_is_live(s.id, admit_grant.token_id, admit_grant.epoch, admit_grant.kid,
                                       admit_grant.subject);
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
GRANT EXECUTE ON FUNCTION seawall.admit_grant(bytea, uuid, integer, text, integer, text) TO seawall_app;

-- True once for each proof. Swept as it grows: about four expired rows go for each one that comes.
CREATE OR REPLACE FUNCTION seawall.use_proof(hash bytea, keep_s integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
GRANT EXECUTE ON FUNCTION seawall.use_proof(bytea, integer) TO seawall_app, seawall_identity;
