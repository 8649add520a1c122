-- What Seawall itself knows of a person in a tenant: their copy of it, and its erasure.

-- Erasing a person in one tenant, as far as Seawall itself knows them. If they belong nowhere else, they are nobody any more:
-- the id stays, because the log and the app's rows name it, and leads to nothing.
CREATE OR REPLACE FUNCTION seawall.forget_person(tenant uuid, person uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE gone boolean;
BEGIN
    -- Two tenants may forget them at the same moment: the later one sees that they are nobody.
    PERFORM FROM seawall.users u WHERE u.id = person FOR UPDATE;
    DELETE FROM seawall.memberships m WHERE m.tenant_id = tenant AND m.user_id = person;
    DELETE FROM seawall.pseudonyms p WHERE p.tenant_id = tenant AND p.subject = person;
    DELETE FROM seawall.sessions s WHERE s.tenant_id = tenant AND s.user_id = person;
    DELETE FROM seawall.approval_requests r WHERE r.tenant_id = tenant AND r.requester_id = person;
    DELETE FROM seawall.tenant_people p WHERE p.tenant_id = tenant AND p.user_id = person;
    gone := NOT EXISTS (SELECT FROM seawall.tenant_people p WHERE p.user_id = person)
        AND NOT EXISTS (SELECT FROM seawall.staff s WHERE s.user_id = person);
    IF gone THEN
        UPDATE seawall.users SET email = 'erased-' || id || '@erased.invalid', name = '', epoch = epoch + 1,
            disabled_at = coalesce(disabled_at, now()) WHERE id = person;
        DELETE FROM seawall.identities i WHERE i.user_id = person;
        DELETE FROM seawall.sessions s WHERE s.user_id = person;
        DELETE FROM seawall.passkeys k WHERE k.user_id = person;
        DELETE FROM seawall.passkey_handles h WHERE h.user_id = person;
        DELETE FROM seawall.recovery_codes c WHERE c.user_id = person;
        DELETE FROM seawall.totp_factors f WHERE f.user_id = person;
        DELETE FROM seawall.known_devices d WHERE d.user_id = person;
    END IF;
    RETURN gone;
END $$;

-- For their copy. No secret of a factor or session is in it.
CREATE OR REPLACE FUNCTION seawall.about_person(tenant uuid, person uuid) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
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
        -- in what words is sealed, and stands on their page of requests
        'asked_for', (SELECT coalesce(jsonb_agg(jsonb_build_object('at', r.created_at, 'action', r.action,
                             'resource', r.resource, 'decision', r.decision) ORDER BY r.id), '[]')
                      FROM seawall.approval_requests r WHERE r.requester_id = person AND r.tenant_id = tenant),
        'events', (SELECT coalesce(jsonb_agg(jsonb_build_object('at', e.at, 'kind', e.kind, 'outcome', e.outcome)
                                             ORDER BY e.id), '[]')
                   FROM (SELECT * FROM seawall.audit_events a WHERE a.user_id = person AND a.tenant_id = tenant
                         ORDER BY a.id DESC LIMIT 10000) e))
$$;

-- By a person's own request: whom the verified context names, and nobody else; and only in the transaction that has used
-- up their approval of it, since an injected statement must not erase whoever's request it rides on.
CREATE OR REPLACE FUNCTION seawall.forget_me() RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF seawall.tenant_id() IS NULL OR seawall.user_id() IS NULL THEN
        RAISE EXCEPTION 'seawall: no person in the context' USING ERRCODE = '42501';
    END IF;
    IF NOT EXISTS (SELECT FROM seawall.step_up_approvals a JOIN seawall.step_up_challenges c ON c.id = a.challenge_id
                   WHERE a.session_id = seawall.session_id() AND a.user_id = seawall.user_id()
                     AND a.tenant_id = seawall.tenant_id() AND c.action = 'erase_person' AND a.consumed_at >= now()) THEN
        RAISE EXCEPTION 'seawall: erasing oneself needs an approval of it' USING ERRCODE = '42501';
    END IF;
    RETURN seawall.forget_person(seawall.tenant_id(), seawall.user_id());
END $$;

CREATE OR REPLACE FUNCTION seawall.about_me() RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT seawall.about_person(seawall.tenant_id(), seawall.user_id())
$$;
GRANT EXECUTE ON FUNCTION seawall.forget_me(), seawall.about_me() TO seawall_app;

-- The same for somebody who asked an operator, by letter; in the transaction that empties the app's rows and records it.
CREATE OR REPLACE FUNCTION seawall.forget_subject(person uuid) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT seawall.forget_person(seawall.operated_tenant(), person)
$$;

CREATE OR REPLACE FUNCTION seawall.about_subject(person uuid) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT seawall.about_person(seawall.operated_tenant(), person)
$$;
GRANT EXECUTE ON FUNCTION seawall.forget_subject(uuid), seawall.about_subject(uuid) TO seawall_worker;
