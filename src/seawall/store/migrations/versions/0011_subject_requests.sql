-- Copies and erasures of people who asked an operator, by letter.

-- The tenant of an operator's context, which comes with a job that the owner alone can order; refuses any other context.
CREATE FUNCTION seawall.operated_tenant() RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
DECLARE
    context text := nullif(current_setting('seawall.ctx', true), '');
    part text[] := CASE WHEN context IS NULL THEN NULL ELSE seawall.verify(context) END;
BEGIN
    IF part IS NULL OR part[5] <> 'operator' THEN
        RAISE EXCEPTION 'seawall: not an operator''s context' USING ERRCODE = '42501';
    END IF;
    RETURN part[2]::uuid;
END $$;

-- The same as `forget_me` and `about_me`, for somebody else; in the transaction that empties the app's rows and records it.
CREATE FUNCTION seawall.forget_subject(person uuid) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT seawall.forget_person(seawall.operated_tenant(), person)
$$;

CREATE FUNCTION seawall.about_subject(person uuid) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT seawall.about_person(seawall.operated_tenant(), person)
$$;
GRANT EXECUTE ON FUNCTION seawall.forget_subject(uuid), seawall.about_subject(uuid) TO seawall_worker;

-- As before, and why an operator took their second factors away.
CREATE OR REPLACE FUNCTION seawall.about_person(tenant uuid, person uuid) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT jsonb_build_object(
        'account', (SELECT jsonb_build_object('id', u.id, 'email', u.email, 'name', u.name, 'created_at', u.created_at)
                    FROM seawall.users u WHERE u.id = person),
        'signs_in_by', (SELECT coalesce(jsonb_agg(jsonb_build_object('issuer', i.issuer, 'subject', i.subject,
                               'linked_at', i.linked_at)), '[]') FROM seawall.identities i WHERE i.user_id = person),
        'roles', (SELECT coalesce(jsonb_agg(jsonb_build_object('role', m.role, 'scope_type', m.scope_type,
                         'scope_id', m.scope_id, 'granted_at', m.granted_at)), '[]')
                  FROM seawall.memberships m WHERE m.user_id = person AND m.tenant_id = tenant),
        'sessions', (SELECT coalesce(jsonb_agg(jsonb_build_object('id', s.id, 'created_at', s.created_at,
                            'last_seen_at', s.last_seen_at, 'ended_at', s.revoked_at)), '[]')
                     FROM seawall.sessions s WHERE s.user_id = person AND s.tenant_id = tenant),
        'known_elsewhere_as', (SELECT coalesce(jsonb_object_agg(p.service, p.token), '{}')
                               FROM seawall.pseudonyms p WHERE p.subject = person AND p.tenant_id = tenant),
        'factor_resets', (SELECT coalesce(jsonb_agg(jsonb_build_object('at', r.reset_at, 'reason', r.reason,
                                 'ticket', r.ticket)), '[]')
                          FROM seawall.factor_resets r WHERE r.user_id = person AND r.tenant_id = tenant),
        'events', (SELECT coalesce(jsonb_agg(jsonb_build_object('at', e.at, 'kind', e.kind, 'outcome', e.outcome)
                                             ORDER BY e.id), '[]')
                   FROM (SELECT * FROM seawall.audit_events a WHERE a.user_id = person AND a.tenant_id = tenant
                         ORDER BY a.id DESC LIMIT 10000) e))
$$;
