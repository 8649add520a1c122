-- Suspending, exporting and erasing tenants.

ALTER TABLE seawall.tenants
    ADD COLUMN erasing_at timestamptz,     -- from then on there is no way back
    ADD CONSTRAINT tenants_erasing_is_suspended CHECK (erasing_at IS NULL OR suspended_at IS NOT NULL);

-- A context outlives the request it was minted for by up to a minute, so suspension is asked for wherever rows are
-- guarded. Only an operator's context goes on: it exports and erases tenants that are suspended.
CREATE FUNCTION seawall.live_tenant(part text[]) RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
BEGIN
    IF part[5] <> 'operator' AND EXISTS (SELECT FROM seawall.tenants t
                                         WHERE t.id = part[2]::uuid AND t.suspended_at IS NOT NULL) THEN
        RAISE EXCEPTION 'seawall: the tenant is suspended' USING ERRCODE = '42501';
    END IF;
    RETURN part[2]::uuid;
END $$;

CREATE OR REPLACE FUNCTION seawall.tenant_id() RETURNS uuid
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE context text := nullif(current_setting('seawall.ctx', true), '');
BEGIN
    IF context IS NULL THEN RETURN NULL; END IF;
    RETURN seawall.live_tenant(seawall.verify(context));
END $$;

-- An operator orders work on a tenant as a job, so that the worker who does it gets the tenant's context with the job
-- and nothing else: nobody mints a tenant out of thin air. Apps cannot order such jobs.
CREATE OR REPLACE FUNCTION seawall.enqueue(kind text, payload jsonb) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE made uuid;
BEGIN
    IF enqueue.kind LIKE 'seawall.%' THEN
        RAISE EXCEPTION 'seawall: % is not an app''s kind of job', enqueue.kind USING ERRCODE = '42501';
    END IF;
    INSERT INTO seawall.jobs (tenant_id, enqueued_by, kind, payload)
    VALUES (seawall.tenant_id(), seawall.user_id(), enqueue.kind, enqueue.payload) RETURNING id INTO made;
    RETURN made;
END $$;

CREATE OR REPLACE FUNCTION seawall.claim(kinds text[], lease_s integer)
RETURNS TABLE (id uuid, kind text, payload jsonb, attempt integer, context text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    UPDATE seawall.jobs j
    SET attempts = j.attempts + 1, claimed_until = now() + make_interval(secs => least(greatest(lease_s, 1), 600))
    WHERE j.id = (SELECT d.id FROM seawall.jobs d JOIN seawall.tenants t ON t.id = d.tenant_id
                    AND (t.suspended_at IS NULL OR d.kind LIKE 'seawall.tenant-%')
                  WHERE d.finished_at IS NULL AND d.run_after <= now() AND d.kind = ANY (kinds)
                    AND d.attempts < d.attempts_max AND (d.claimed_until IS NULL OR d.claimed_until < now())
                  ORDER BY d.run_after LIMIT 1 FOR UPDATE OF d SKIP LOCKED)
    RETURNING j.id, j.kind, j.payload, j.attempts,
              seawall.mint(j.tenant_id, j.enqueued_by, j.id,
                           CASE WHEN j.kind LIKE 'seawall.tenant-%' THEN 'operator' ELSE 'job' END);
END $$;

-- Erasing a tenant, or a person, is one event in the log and not one for each row that it touches.
CREATE OR REPLACE FUNCTION seawall.require_audit() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    context text := nullif(current_setting('seawall.ctx', true), '');
    operator boolean := context IS NOT NULL AND (seawall.verify(context))[5] = 'operator';
BEGIN
    IF NOT EXISTS (SELECT FROM seawall.audit_events
                   WHERE tx = pg_current_xact_id()
                     AND (TG_ARGV[0] = '' OR kind = TG_ARGV[0]
                          OR (TG_OP = 'UPDATE' AND kind IN ('privacy.resealed', 'privacy.erasure'))
                          OR (TG_OP = 'DELETE' AND operator AND kind = 'tenancy.lifecycle'))) THEN
        RAISE EXCEPTION 'seawall: a change to % without its audit event', TG_TABLE_NAME USING ERRCODE = '42501';
    END IF;
    RETURN NULL;
END $$;

-- An operator reads the keys of a suspended tenant too, to export it or a person of it.
CREATE OR REPLACE FUNCTION seawall.read_tenant_keys() RETURNS TABLE (version integer, wrapped text, state text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
#variable_conflict use_column
DECLARE tenant uuid := seawall.tenant_id();   -- refuses a suspended tenant by itself
BEGIN
    RETURN QUERY SELECT k.version, k.wrapped, k.state FROM seawall.tenant_keys k
                 WHERE k.tenant_id = tenant ORDER BY k.version;
END $$;

-- Pseudonyms: what another service knows a person or object by. Random, one for each service, so that two services cannot
-- join what they know, and an erased person's are names of nobody.
CREATE TABLE seawall.pseudonyms (
    tenant_id  uuid NOT NULL REFERENCES seawall.tenants ON DELETE CASCADE,
    service    text NOT NULL CHECK (service ~ '^[a-z][a-z0-9._-]{0,62}$'),
    subject    uuid NOT NULL,
    token      text NOT NULL UNIQUE CHECK (token ~ '^p_[0-9a-f]{32}$'),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, service, subject)
);

CREATE FUNCTION seawall.pseudonym_in(tenant uuid, service text, subject uuid) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE known text;
BEGIN
    IF tenant IS NULL THEN RAISE EXCEPTION 'seawall: no tenant context' USING ERRCODE = '42501'; END IF;
    SELECT p.token INTO known FROM seawall.pseudonyms p
    WHERE p.tenant_id = tenant AND p.service = pseudonym_in.service AND p.subject = pseudonym_in.subject;
    IF known IS NULL THEN
        -- gen_random_uuid() draws from pg_strong_random: 122 bits
        INSERT INTO seawall.pseudonyms (tenant_id, service, subject, token)
        VALUES (tenant, pseudonym_in.service, pseudonym_in.subject, 'p_' || replace(gen_random_uuid()::text, '-', ''))
        ON CONFLICT ON CONSTRAINT pseudonyms_pkey DO UPDATE SET service = excluded.service   -- waits for the other one
        RETURNING token INTO known;
    END IF;
    RETURN known;
END $$;

CREATE FUNCTION seawall.pseudonym(service text, subject uuid) RETURNS text
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT seawall.pseudonym_in(seawall.tenant_id(), service, subject)
$$;

-- Whom a service means, in the caller's own tenant; nobody by another service's token.
CREATE FUNCTION seawall.subject_of(service text, token text) RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT p.subject FROM seawall.pseudonyms p
    WHERE p.tenant_id = seawall.tenant_id() AND p.service = subject_of.service AND p.token = subject_of.token
$$;
GRANT EXECUTE ON FUNCTION seawall.pseudonym(text, uuid), seawall.subject_of(text, text) TO seawall_app, seawall_worker;
GRANT EXECUTE ON FUNCTION seawall.pseudonym_in(uuid, text, uuid) TO seawall_identity;

-- Erasing a person in one tenant, as far as Seawall itself knows them. If they belong nowhere else, they are nobody any more:
-- the id stays, because the log and the app's rows name it, and leads to nothing.
CREATE FUNCTION seawall.forget_person(tenant uuid, person uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog AS $$
DECLARE gone boolean;
BEGIN
    DELETE FROM seawall.memberships m WHERE m.tenant_id = tenant AND m.user_id = person;
    DELETE FROM seawall.pseudonyms p WHERE p.tenant_id = tenant AND p.subject = person;
    DELETE FROM seawall.sessions s WHERE s.tenant_id = tenant AND s.user_id = person;
    DELETE FROM seawall.tenant_people p WHERE p.tenant_id = tenant AND p.user_id = person;
    gone := NOT EXISTS (SELECT FROM seawall.tenant_people p WHERE p.user_id = person)
        AND NOT EXISTS (SELECT FROM seawall.staff s WHERE s.user_id = person);
    IF gone THEN
        UPDATE seawall.users SET email = 'erased-' || id || '@erased.invalid', name = '', epoch = epoch + 1,
            disabled_at = coalesce(disabled_at, now()) WHERE id = person;
        DELETE FROM seawall.identities i WHERE i.user_id = person;
        DELETE FROM seawall.sessions s WHERE s.user_id = person;
    END IF;
    RETURN gone;
END $$;

-- By a person's own request: whom the verified context names, and nobody else.
CREATE FUNCTION seawall.forget_me() RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    IF seawall.tenant_id() IS NULL OR seawall.user_id() IS NULL THEN
        RAISE EXCEPTION 'seawall: no person in the context' USING ERRCODE = '42501';
    END IF;
    RETURN seawall.forget_person(seawall.tenant_id(), seawall.user_id());
END $$;

-- What Seawall itself knows of a person in a tenant, for their copy. No secret of a factor or session is in it.
CREATE FUNCTION seawall.about_person(tenant uuid, person uuid) RETURNS jsonb
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
        'events', (SELECT coalesce(jsonb_agg(jsonb_build_object('at', e.at, 'kind', e.kind, 'outcome', e.outcome)
                                             ORDER BY e.id), '[]')
                   FROM (SELECT * FROM seawall.audit_events a WHERE a.user_id = person AND a.tenant_id = tenant
                         ORDER BY a.id DESC LIMIT 10000) e))
$$;

CREATE FUNCTION seawall.about_me() RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT seawall.about_person(seawall.tenant_id(), seawall.user_id())
$$;
GRANT EXECUTE ON FUNCTION seawall.forget_me(), seawall.about_me() TO seawall_app;
