-- Break-glass: platform staff in the one tenant of a live grant, every row that they read witnessed.

-- A decided grant is not decided again, an ended one does not come back.
CREATE OR REPLACE FUNCTION seawall.settled_grant() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF OLD.ended_at IS NOT NULL
       OR (OLD.approved IS NOT NULL AND (NEW.approved, NEW.decided_by, NEW.decided_at, NEW.expires_at)
           IS DISTINCT FROM (OLD.approved, OLD.decided_by, OLD.decided_at, OLD.expires_at)) THEN
        RAISE EXCEPTION 'seawall: a decided grant is not decided again, an ended one does not come back'
            USING ERRCODE = '23514';
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER settled BEFORE UPDATE ON seawall.break_glass_grants
    FOR EACH ROW EXECUTE FUNCTION seawall.settled_grant();

-- Whether a grant holds at this very moment, transaction begun in time or not: with whoever approved it, it ends too.
CREATE OR REPLACE FUNCTION seawall.grant_holds(wanted uuid, tenant uuid, person uuid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (
        SELECT FROM seawall.break_glass_grants g
        JOIN seawall.staff s ON s.user_id = g.staff_id AND s.removed_at IS NULL
        JOIN seawall.users u ON u.id = g.staff_id AND u.disabled_at IS NULL
        JOIN seawall.staff a ON a.user_id = g.decided_by AND a.user_id <> g.staff_id AND a.removed_at IS NULL
        JOIN seawall.users v ON v.id = g.decided_by AND v.disabled_at IS NULL
        WHERE g.id = wanted AND g.tenant_id = tenant AND g.staff_id = person
          AND g.approved AND g.ended_at IS NULL AND g.expires_at > clock_timestamp())
$$;

-- From a staff person's own context to one in the granted tenant; no row when the grant does not hold, is another's, or
-- the session has ended, is an API client's, or has no second factor that is newer than the last doubt about it.
CREATE OR REPLACE FUNCTION seawall.enter_break_glass(own text, wanted uuid) RETURNS TABLE (tenant_id uuid, context text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    part text[] := seawall.verify(own);
    live record;
BEGIN
    SELECT g.id, g.tenant_id, g.staff_id INTO live
    FROM seawall.break_glass_grants g JOIN seawall.sessions s ON s.id = nullif(part[4], '')::uuid
    JOIN seawall.users u ON u.id = s.user_id AND u.epoch = s.epoch
    WHERE g.id = wanted AND part[5] = 'session' AND g.staff_id = part[3]::uuid AND s.user_id = g.staff_id
      AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp() AND s.kind <> 'client' AND s.aal >= 2
      AND (s.doubted_at > coalesce(s.second_factor_at, '-infinity')) IS NOT TRUE
      AND seawall.grant_holds(g.id, g.tenant_id, g.staff_id);
    IF NOT FOUND THEN RETURN; END IF;
    RETURN QUERY SELECT live.tenant_id, seawall.mint(live.tenant_id, live.staff_id, live.id, 'breakglass');
END $$;
GRANT EXECUTE ON FUNCTION seawall.enter_break_glass(text, uuid) TO seawall_app;

-- The audit event of one row that is about to be read: a condition of the row-level security that only the role
-- seawall_breakglass has (store/walls.py), so no statement can read a row without it. It stands in the reading
-- transaction, which is committed before the answer's first byte leaves.
CREATE OR REPLACE FUNCTION seawall.witness(relation oid, row_id text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER COST 100000 SET search_path = pg_catalog, pg_temp AS $$
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
CREATE OR REPLACE FUNCTION seawall.break_glass_reads(wanted uuid, at_most integer)
RETURNS TABLE (at timestamptz, relation text, row_id text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT e.at, e.body ->> 'table', e.body ->> 'row'
    FROM seawall.break_glass_grants g JOIN seawall.audit_events e ON e.tenant_id = g.tenant_id
    WHERE g.id = wanted AND e.kind = 'access.break-glass-read' AND e.session_id = g.id AND e.id >= g.id
    ORDER BY e.id DESC LIMIT least(at_most, 1000)
$$;
GRANT EXECUTE ON FUNCTION seawall.break_glass_reads(uuid, integer) TO seawall_identity;
