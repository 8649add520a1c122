-- Whom a token speaks of: a pseudonym of the client's own (OpenID Connect Core §8.1), so that two clients, and whoever reads
-- their tokens and logs, cannot join what they know of a person. The service is `client.` and the client's id.
ALTER TABLE seawall.pseudonyms DROP CONSTRAINT pseudonyms_service_check,
    ADD CONSTRAINT pseudonyms_service_check CHECK (service ~ '^[a-z][a-z0-9._-]{0,79}$');   -- holds `client.` and 64 more

-- Beside the grant and not only in the table of pseudonyms: admission compares it, in a row that it has in hand anyway.
ALTER TABLE seawall.client_grants ADD COLUMN subject text;
UPDATE seawall.client_grants g SET subject = seawall.pseudonym_in(s.tenant_id, 'client.' || s.client_id, s.user_id)
    FROM seawall.sessions s WHERE s.id = g.id;
ALTER TABLE seawall.client_grants ALTER COLUMN subject SET NOT NULL,
    ADD CONSTRAINT client_grants_subject_check CHECK (length(subject) BETWEEN 1 AND 64);

-- As before, and of the grant's own person: a token whose `sub` is another's is refused wherever tokens are asked about.
DROP FUNCTION seawall.admit_grant(bytea, uuid, integer, text, integer);
DROP FUNCTION seawall.access_token_is_live(uuid, uuid, integer, text);
CREATE FUNCTION seawall.access_token_is_live(grant_id uuid, token_id uuid, epoch integer, kid text, subject text)
RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT seawall.grant_is_live(grant_id)
       AND EXISTS (SELECT FROM seawall.sessions s WHERE s.id = grant_id AND s.epoch = access_token_is_live.epoch)
       AND EXISTS (SELECT FROM seawall.client_grants g
                   WHERE g.id = grant_id AND g.subject = access_token_is_live.subject)
       AND EXISTS (SELECT FROM seawall.signing_keys k WHERE k.kid = access_token_is_live.kid)
       AND NOT EXISTS (SELECT FROM seawall.revoked_tokens r WHERE r.id = token_id)
$$;

CREATE FUNCTION seawall.admit_grant(secret bytea, token_id uuid, epoch integer, kid text, generation integer, subject text)
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
GRANT EXECUTE ON FUNCTION seawall.access_token_is_live(uuid, uuid, integer, text, text) TO seawall_identity;
GRANT EXECUTE ON FUNCTION seawall.admit_grant(bytea, uuid, integer, text, integer, text) TO seawall_app;

-- Somebody lost all their second factors, and an operator took them away (`seawall person reset-factors`). Why and by which
-- ticket is kept here, since the log holds no free text; the person reads of it on their account page. Leaves with the person.
CREATE TABLE seawall.factor_resets (
    id        uuid PRIMARY KEY DEFAULT uuidv7(),
    tenant_id uuid NOT NULL,             -- at whose request
    user_id   uuid NOT NULL,
    reason    text NOT NULL CHECK (length(reason) BETWEEN 10 AND 500),
    ticket    text NOT NULL CHECK (ticket ~ '^[A-Za-z0-9][A-Za-z0-9#/_.-]{0,63}$'),
    reset_at  timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (tenant_id, user_id) REFERENCES seawall.tenant_people ON DELETE CASCADE
);
CREATE INDEX factor_resets_user ON seawall.factor_resets (user_id, id);
CREATE INDEX factor_resets_person ON seawall.factor_resets (tenant_id, user_id);
CREATE CONSTRAINT TRIGGER audited AFTER INSERT OR UPDATE ON seawall.factor_resets
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION seawall.require_audit('identity.factor-reset');
GRANT SELECT (id, user_id, ticket, reset_at) ON seawall.factor_resets TO seawall_identity;
