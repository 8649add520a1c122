-- Approvals by another person, break-glass grants, bounds on granting roles.

-- Approvals ---------------------------------------------------------------------------------------------------------
-- A draft is made when an action is denied for want of an approval; it becomes a request when its person says why.
-- Only seawall_identity writes here, so a statement injected into a handler can ask for nothing and approve nothing.
CREATE TABLE seawall.approval_requests (
    id              uuid PRIMARY KEY DEFAULT uuidv7(),
    tenant_id       uuid NOT NULL REFERENCES seawall.tenants ON DELETE CASCADE,
    requester_id    uuid NOT NULL REFERENCES seawall.users ON DELETE CASCADE,
    digest          bytea NOT NULL CHECK (length(digest) = 32),   -- of what exactly, and of the sentence that says so
    action          text NOT NULL CHECK (length(action) <= 200),
    resource        text NOT NULL CHECK (length(resource) <= 500),
    params          jsonb NOT NULL CHECK (pg_column_size(params) <= 65536),
    summary         text NOT NULL CHECK (length(summary) <= 500),
    resume          jsonb NOT NULL CHECK (pg_column_size(resume) <= 131072),
    roles           text[] NOT NULL CHECK (cardinality(roles) BETWEEN 1 AND 8),
    lifetime_s      integer NOT NULL CHECK (lifetime_s BETWEEN 60 AND 604800),
    created_at      timestamptz NOT NULL DEFAULT now(),
    asked_at        timestamptz,
    reason          text CHECK (length(reason) BETWEEN 1 AND 500),
    expires_at      timestamptz NOT NULL,       -- of the draft, then of the request, then of the approval
    decision        text CHECK (decision IN ('approved', 'refused', 'withdrawn')),
    decided_by      uuid,
    decided_at      timestamptz,
    decision_reason text CHECK (length(decision_reason) BETWEEN 1 AND 500),
    consumed_at     timestamptz,
    CONSTRAINT asked_with_a_reason CHECK ((asked_at IS NULL) = (reason IS NULL)),
    CONSTRAINT decided_by_somebody CHECK ((decision IS NULL) = (decided_by IS NULL)
                                      AND (decision IS NULL) = (decided_at IS NULL)),
    CONSTRAINT decided_when_asked CHECK (decision IS NULL OR asked_at IS NOT NULL),
    -- four eyes, whatever the code above believes: only withdrawing is for the one who asked
    CONSTRAINT decided_by_another CHECK (decision IS NULL OR (decision = 'withdrawn') = (decided_by = requester_id)),
    CONSTRAINT used_when_approved CHECK (consumed_at IS NULL OR decision = 'approved')
);
CREATE INDEX approval_requests_requester ON seawall.approval_requests (requester_id, tenant_id, id);
CREATE INDEX approval_requests_open ON seawall.approval_requests (tenant_id, id)
    WHERE asked_at IS NOT NULL AND consumed_at IS NULL;
CREATE CONSTRAINT TRIGGER audited AFTER UPDATE OF decision, consumed_at ON seawall.approval_requests
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION seawall.require_audit('access.approval');
GRANT SELECT, INSERT, UPDATE, DELETE ON seawall.approval_requests TO seawall_identity;

-- What is settled stays settled: a decision may be taken back (withdrawn, refused), never given again or to another.
CREATE FUNCTION seawall.settled_approval() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF (NEW.tenant_id, NEW.requester_id, NEW.digest, NEW.action, NEW.resource, NEW.params, NEW.summary)
       IS DISTINCT FROM (OLD.tenant_id, OLD.requester_id, OLD.digest, OLD.action, OLD.resource, OLD.params, OLD.summary)
       OR OLD.consumed_at IS NOT NULL OR OLD.decision IN ('refused', 'withdrawn')
       OR (OLD.decision = 'approved' AND NEW.decision = 'approved'
           AND (NEW.decided_by, NEW.expires_at) IS DISTINCT FROM (OLD.decided_by, OLD.expires_at))
       OR (OLD.decision = 'approved' AND NEW.decision IS NULL) THEN
        RAISE EXCEPTION 'seawall: a settled approval does not change' USING ERRCODE = '23514';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER settled BEFORE UPDATE ON seawall.approval_requests
    FOR EACH ROW EXECUTE FUNCTION seawall.settled_approval();

-- Uses up one approval within the business transaction, like seawall.consume_approval() does a step-up. Who asks is
-- taken from the verified context; whoever approved must hold one of the roles NOW, tenant-wide unless `anywhere`.
CREATE FUNCTION seawall.consume_request(digest bytea, roles text[], anywhere boolean)
RETURNS TABLE (id uuid, approver uuid, memberships text[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
#variable_conflict use_column
DECLARE
    live record;
    held text[];
BEGIN
    SELECT r.id, r.decided_by, r.action INTO live FROM seawall.approval_requests r
    WHERE r.requester_id = seawall.user_id() AND r.tenant_id = seawall.tenant_id() AND r.digest = consume_request.digest
      AND r.decision = 'approved' AND r.decided_by <> r.requester_id AND r.consumed_at IS NULL
      AND r.expires_at > clock_timestamp()
    ORDER BY r.expires_at LIMIT 1 FOR UPDATE;
    IF NOT FOUND THEN RETURN; END IF;
    SELECT array_agg(concat_ws('|', m.role, m.scope_type, m.scope_id)) INTO held
    FROM seawall.memberships m JOIN seawall.users u ON u.id = m.user_id AND u.disabled_at IS NULL
    WHERE m.user_id = live.decided_by AND m.tenant_id = seawall.tenant_id()
      AND (m.expires_at IS NULL OR m.expires_at > now())
    HAVING bool_or(m.role = ANY (consume_request.roles) AND (anywhere OR m.scope_id IS NULL));
    IF held IS NULL THEN RETURN; END IF;
    -- what the browser would have sent again is kept no longer than it is needed
    UPDATE seawall.approval_requests r SET consumed_at = clock_timestamp(), resume = 'null'
    WHERE r.id = live.id AND r.consumed_at IS NULL AND r.decision = 'approved';
    IF NOT FOUND THEN RETURN; END IF;
    INSERT INTO seawall.audit_events (tenant_id, user_id, session_id, kind, outcome, body)
    VALUES (seawall.tenant_id(), seawall.user_id(), seawall.session_id(), 'access.approval', 'success',
            jsonb_build_object('trace_id', '', 'request_id', live.id, 'requester_id', seawall.user_id(),
                               'approver_id', live.decided_by, 'action', live.action,
                               'digest', encode(digest, 'hex'), 'step', 'consumed'));
    RETURN QUERY SELECT live.id, live.decided_by, held;
END $$;
GRANT EXECUTE ON FUNCTION seawall.consume_request(bytea, text[], boolean) TO seawall_app;

-- Admin safety ------------------------------------------------------------------------------------------------------
-- Roles that no tenant may lose the last live, tenant-wide holder of. An app's migration may add its own.
CREATE TABLE seawall.kept_roles (role text PRIMARY KEY CHECK (role ~ '^[a-z][a-z_]{0,62}$'));
INSERT INTO seawall.kept_roles VALUES ('owner');
GRANT SELECT ON seawall.kept_roles TO seawall_identity;

CREATE FUNCTION seawall.keep_the_last() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    IF OLD.scope_id IS NOT NULL OR NOT EXISTS (SELECT FROM seawall.kept_roles k WHERE k.role = OLD.role) THEN
        RETURN NULL;
    END IF;
    -- An update, not only a lock: removals at the same moment wait for one another, and the next statement sees what
    -- the earlier one did; under REPEATABLE READ the later one fails instead of not seeing it. No row: the whole tenant
    -- is being removed.
    UPDATE seawall.tenants SET id = id WHERE id = OLD.tenant_id;
    IF FOUND AND NOT EXISTS (
        SELECT FROM seawall.memberships m JOIN seawall.users u ON u.id = m.user_id AND u.disabled_at IS NULL
        WHERE m.tenant_id = OLD.tenant_id AND m.role = OLD.role AND m.scope_id IS NULL
          AND (m.expires_at IS NULL OR m.expires_at > now())) THEN
        RAISE EXCEPTION 'seawall: the last % stays', OLD.role USING ERRCODE = '23514', CONSTRAINT = 'keep_the_last';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER keep_the_last AFTER DELETE OR UPDATE ON seawall.memberships
    FOR EACH ROW EXECUTE FUNCTION seawall.keep_the_last();

-- Everybody who ever held a role in a tenant: whose last role was taken may be given another, a stranger may not.
CREATE TABLE seawall.tenant_people (
    tenant_id uuid NOT NULL REFERENCES seawall.tenants ON DELETE CASCADE,
    user_id   uuid NOT NULL REFERENCES seawall.users ON DELETE CASCADE,
    joined_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, user_id)
);
CREATE INDEX tenant_people_user ON seawall.tenant_people (user_id);
INSERT INTO seawall.tenant_people (tenant_id, user_id, joined_at)
    SELECT tenant_id, user_id, min(granted_at) FROM seawall.memberships GROUP BY tenant_id, user_id;
GRANT SELECT ON seawall.tenant_people TO seawall_identity;

CREATE FUNCTION seawall.remember_person() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    INSERT INTO seawall.tenant_people (tenant_id, user_id) VALUES (NEW.tenant_id, NEW.user_id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER remember_person AFTER INSERT ON seawall.memberships
    FOR EACH ROW EXECUTE FUNCTION seawall.remember_person();

-- The role under which policies know platform staff is never anybody's by membership.
ALTER TABLE seawall.memberships ADD CONSTRAINT never_break_glass CHECK (role <> 'breakglass');

-- Break-glass -------------------------------------------------------------------------------------------------------
DO $$ BEGIN
    IF to_regrole('seawall_breakglass') IS NULL THEN
        RAISE EXCEPTION 'seawall: the role seawall_breakglass is missing'
            USING HINT = 'run what `seawall migrate --print-roles` prints, once more, as a superuser';
    END IF;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO seawall_breakglass', current_database());
END $$;
GRANT USAGE ON SCHEMA seawall, app TO seawall_breakglass;
GRANT EXECUTE ON FUNCTION seawall.tenant_id(), seawall.user_id(), seawall.session_id(), seawall.audit_append(text[])
    TO seawall_breakglass;

-- Platform staff, outside all tenants. Only the owner writes here (`seawall staff`); nobody is in it by default.
CREATE TABLE seawall.staff (
    user_id    uuid PRIMARY KEY REFERENCES seawall.users,
    added_at   timestamptz NOT NULL DEFAULT now(),
    removed_at timestamptz
);
GRANT SELECT ON seawall.staff TO seawall_identity;

CREATE TABLE seawall.break_glass_grants (
    id           uuid PRIMARY KEY DEFAULT uuidv7(),
    staff_id     uuid NOT NULL REFERENCES seawall.staff,
    tenant_id    uuid NOT NULL REFERENCES seawall.tenants ON DELETE CASCADE,
    reason       text NOT NULL CHECK (length(reason) BETWEEN 10 AND 500),
    ticket       text NOT NULL CHECK (ticket ~ '^[A-Za-z0-9][A-Za-z0-9#/_.-]{0,63}$'),
    lifetime_s   integer NOT NULL CHECK (lifetime_s BETWEEN 60 AND 14400),
    requested_at timestamptz NOT NULL DEFAULT now(),
    wait_until   timestamptz NOT NULL,
    decided_by   uuid REFERENCES seawall.staff,
    decided_at   timestamptz,
    approved     boolean,
    expires_at   timestamptz,
    ended_at     timestamptz,
    ended_by     uuid,
    CONSTRAINT approved_by_another CHECK (decided_by <> staff_id),
    CONSTRAINT decided_by_somebody CHECK ((approved IS NULL) = (decided_by IS NULL)
                                      AND (approved IS NULL) = (decided_at IS NULL)),
    CONSTRAINT ends CHECK (coalesce(approved, false) = (expires_at IS NOT NULL)),
    CONSTRAINT ends_in_time CHECK (expires_at <= decided_at + make_interval(secs => lifetime_s)),
    CONSTRAINT ended_by_somebody CHECK ((ended_at IS NULL) = (ended_by IS NULL))
);
CREATE INDEX break_glass_grants_tenant ON seawall.break_glass_grants (tenant_id, id);
CREATE INDEX break_glass_grants_staff ON seawall.break_glass_grants (staff_id, id);
CREATE CONSTRAINT TRIGGER audited AFTER INSERT OR UPDATE ON seawall.break_glass_grants
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION seawall.require_audit('access.break-glass');
GRANT SELECT, INSERT ON seawall.break_glass_grants TO seawall_identity;
GRANT UPDATE (decided_by, decided_at, approved, expires_at, ended_at, ended_by)
    ON seawall.break_glass_grants TO seawall_identity;

CREATE FUNCTION seawall.settled_grant() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF OLD.ended_at IS NOT NULL
       OR (OLD.approved IS NOT NULL AND (NEW.approved, NEW.decided_by, NEW.decided_at, NEW.expires_at)
           IS DISTINCT FROM (OLD.approved, OLD.decided_by, OLD.decided_at, OLD.expires_at)) THEN
        RAISE EXCEPTION 'seawall: a decided grant is not decided again, an ended one does not come back'
            USING ERRCODE = '23514';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER settled BEFORE UPDATE ON seawall.break_glass_grants
    FOR EACH ROW EXECUTE FUNCTION seawall.settled_grant();

-- Whether a grant holds at this very moment, transaction begun in time or not.
CREATE FUNCTION seawall.grant_holds(wanted uuid, tenant uuid, person uuid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT EXISTS (
        SELECT FROM seawall.break_glass_grants g
        JOIN seawall.staff s ON s.user_id = g.staff_id AND s.removed_at IS NULL
        JOIN seawall.staff a ON a.user_id = g.decided_by AND a.user_id <> g.staff_id
        JOIN seawall.users u ON u.id = g.staff_id AND u.disabled_at IS NULL
        WHERE g.id = wanted AND g.tenant_id = tenant AND g.staff_id = person
          AND g.approved AND g.ended_at IS NULL AND g.expires_at > clock_timestamp())
$$;

-- As before, and: a context of kind `breakglass` is for the role seawall_breakglass, whose every read is witnessed, and
-- is worth what its grant is worth at the moment of the statement. All other kinds pay for one comparison.
CREATE OR REPLACE FUNCTION seawall.verify(context text) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
DECLARE
    part text[] := string_to_array(context, '.');
    key record;
BEGIN
    IF cardinality(part) IS DISTINCT FROM 7 OR part[1] !~ '^[0-9]{1,9}$' OR part[6] !~ '^[0-9]{1,12}$' THEN
        RAISE EXCEPTION 'seawall: malformed tenant context' USING ERRCODE = '42501';
    END IF;
    SELECT inner_pad, outer_pad INTO key FROM seawall.context_keys
    WHERE kid = part[1]::integer AND (retired_at IS NULL OR retired_at > now() - interval '2 minutes');
    IF NOT FOUND OR part[7] IS DISTINCT FROM encode(sha256(key.outer_pad || sha256(key.inner_pad
            || convert_to(array_to_string(part[1:6], '.'), 'UTF8'))), 'hex') THEN
        RAISE EXCEPTION 'seawall: forged tenant context' USING ERRCODE = '42501';
    END IF;
    IF part[6]::bigint < extract(epoch FROM now()) THEN
        RAISE EXCEPTION 'seawall: expired tenant context' USING ERRCODE = '42501';
    END IF;
    IF (part[5] = 'breakglass') <> (session_user = 'seawall_breakglass') THEN
        RAISE EXCEPTION 'seawall: this context is for another role' USING ERRCODE = '42501';
    END IF;
    IF part[5] = 'breakglass' AND NOT seawall.grant_holds(part[4]::uuid, part[2]::uuid, part[3]::uuid) THEN
        RAISE EXCEPTION 'seawall: the break-glass grant is over' USING ERRCODE = '42501';
    END IF;
    RETURN part;
END $$;

-- From a staff person's own context to one in the granted tenant; no row when the grant does not hold, is another's, or
-- the session is an API client's, or has no second factor that is newer than the last doubt about it.
CREATE FUNCTION seawall.enter_break_glass(own text, wanted uuid) RETURNS TABLE (tenant_id uuid, context text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
#variable_conflict use_column
DECLARE
    part text[] := seawall.verify(own);
    live record;
BEGIN
    SELECT g.id, g.tenant_id, g.staff_id INTO live
    FROM seawall.break_glass_grants g JOIN seawall.sessions s ON s.id = nullif(part[4], '')::uuid
    WHERE g.id = wanted AND part[5] = 'session' AND g.staff_id = part[3]::uuid AND s.user_id = g.staff_id
      AND s.kind <> 'client' AND s.aal >= 2 AND (s.doubted_at > coalesce(s.second_factor_at, '-infinity')) IS NOT TRUE
      AND seawall.grant_holds(g.id, g.tenant_id, g.staff_id);
    IF NOT FOUND THEN RETURN; END IF;
    RETURN QUERY SELECT live.tenant_id, seawall.mint(live.tenant_id, live.staff_id, live.id, 'breakglass');
END $$;
GRANT EXECUTE ON FUNCTION seawall.enter_break_glass(text, uuid) TO seawall_app;

-- The audit event of one row that is about to be read: a condition of the row-level security that only the role
-- seawall_breakglass has (store/walls.py), so no statement can read a row without it. It stands in the reading
-- transaction, which is committed before the answer's first byte leaves.
CREATE FUNCTION seawall.witness(relation oid, row_id text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER COST 100000 SET search_path = pg_catalog AS $$
DECLARE
    part text[] := seawall.verify(nullif(current_setting('seawall.ctx', true), ''));
    name text := relation::regclass::text;
BEGIN
    IF NOT EXISTS (SELECT FROM seawall.audit_events e
                   WHERE e.tx = pg_current_xact_id() AND e.kind = 'access.break-glass-read'
                     AND e.body ->> 'table' = name AND e.body ->> 'row' = row_id) THEN
        INSERT INTO seawall.audit_events (tenant_id, user_id, session_id, kind, outcome, body)
        VALUES (part[2]::uuid, part[3]::uuid, part[4]::uuid, 'access.break-glass-read', 'success',
                jsonb_build_object('trace_id', '', 'grant_id', part[4], 'table', name, 'row', row_id));
    END IF;
    RETURN true;
END $$;
GRANT EXECUTE ON FUNCTION seawall.witness(oid, text) TO seawall_breakglass;

-- What was read under a grant, for those who may see the grant: its staff and its tenant.
CREATE FUNCTION seawall.break_glass_reads(wanted uuid, at_most integer)
RETURNS TABLE (at timestamptz, relation text, row_id text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT e.at, e.body ->> 'table', e.body ->> 'row'
    FROM seawall.break_glass_grants g JOIN seawall.audit_events e ON e.tenant_id = g.tenant_id
    WHERE g.id = wanted AND e.kind = 'access.break-glass-read' AND e.session_id = g.id AND e.id >= g.id
    ORDER BY e.id DESC LIMIT least(at_most, 1000)
$$;
GRANT EXECUTE ON FUNCTION seawall.break_glass_reads(uuid, integer) TO seawall_identity;

-- Staff sign in like everybody else, so they need a tenant to be signed in to; it is one that holds nothing.
CREATE FUNCTION seawall.add_staff(address text, called text) RETURNS uuid
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog AS $$
DECLARE
    platform uuid;
    person uuid;
BEGIN
    INSERT INTO seawall.tenants (slug, name) VALUES ('seawall-staff', 'Platform staff') ON CONFLICT (slug) DO NOTHING;
    SELECT id INTO STRICT platform FROM seawall.tenants WHERE slug = 'seawall-staff';
    INSERT INTO seawall.users (email, name) VALUES (lower(address), called) ON CONFLICT (email) DO NOTHING;
    SELECT id INTO STRICT person FROM seawall.users WHERE email = lower(address);
    IF EXISTS (SELECT FROM seawall.memberships WHERE user_id = person AND tenant_id <> platform) THEN
        RAISE EXCEPTION 'seawall: % already works for a tenant', address USING ERRCODE = '23514',
            HINT = 'staff are nobody''s members: give them another address';
    END IF;
    INSERT INTO seawall.memberships (tenant_id, user_id, role) VALUES (platform, person, 'platform_staff')
        ON CONFLICT DO NOTHING;
    INSERT INTO seawall.staff (user_id) VALUES (person)
        ON CONFLICT (user_id) DO UPDATE SET removed_at = NULL;
    PERFORM seawall.audit_append_as(platform, NULL, NULL, ARRAY[
        jsonb_build_object('kind', 'access.grant', 'outcome', 'success', 'trace_id', '', 'user_id', person,
                           'role', 'platform_staff', 'scope_type', '', 'scope_id', '', 'change', 'granted')::text]);
    RETURN person;
END $$;

CREATE FUNCTION seawall.remove_staff(address text) RETURNS uuid
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog AS $$
DECLARE
    person uuid;
    platform uuid;
    one record;
BEGIN
    SELECT u.id INTO person FROM seawall.users u JOIN seawall.staff s ON s.user_id = u.id AND s.removed_at IS NULL
    WHERE u.email = lower(address);
    IF NOT FOUND THEN RETURN NULL; END IF;
    SELECT id INTO STRICT platform FROM seawall.tenants WHERE slug = 'seawall-staff';
    UPDATE seawall.staff SET removed_at = now() WHERE user_id = person;
    DELETE FROM seawall.memberships WHERE tenant_id = platform AND user_id = person;
    UPDATE seawall.users SET epoch = epoch + 1 WHERE id = person;
    FOR one IN UPDATE seawall.break_glass_grants SET ended_at = now(), ended_by = person
               WHERE staff_id = person AND ended_at IS NULL RETURNING id, tenant_id LOOP
        PERFORM seawall.audit_append_as(one.tenant_id, NULL, NULL, ARRAY[
            jsonb_build_object('kind', 'access.break-glass', 'outcome', 'success', 'trace_id', '',
                               'grant_id', one.id, 'staff_id', person, 'step', 'ended')::text]);
    END LOOP;
    PERFORM seawall.audit_append_as(platform, NULL, NULL, ARRAY[
        jsonb_build_object('kind', 'access.grant', 'outcome', 'success', 'trace_id', '', 'user_id', person,
                           'role', 'platform_staff', 'scope_type', '', 'scope_id', '', 'change', 'revoked')::text]);
    RETURN person;
END $$;
