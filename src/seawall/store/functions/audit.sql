-- The audit log: no role may write it but by a function, and a change that must be told of is not committed without.

-- The app can only append, and only as the person whom the verified context names: each event is {"kind", "outcome", …}.
CREATE OR REPLACE FUNCTION seawall.audit_append(events text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    context text := nullif(current_setting('seawall.ctx', true), '');
    part text[] := CASE WHEN context IS NULL THEN NULL ELSE seawall.verify(context) END;
BEGIN
    INSERT INTO seawall.audit_events (tenant_id, user_id, session_id, kind, outcome, body)
    SELECT nullif(part[2], '')::uuid, nullif(part[3], '')::uuid, nullif(part[4], '')::uuid,
           e.body ->> 'kind', e.body ->> 'outcome', e.body - 'kind' - 'outcome'
    FROM unnest(events) WITH ORDINALITY AS given(event, n), LATERAL (SELECT given.event::jsonb AS body) e
    ORDER BY given.n;
END $$;
GRANT EXECUTE ON FUNCTION seawall.audit_append(text[]) TO seawall_app, seawall_worker, seawall_breakglass;

-- Ordinary allowed reads, in batches of many requests: each event comes with the context it happened under.
CREATE OR REPLACE FUNCTION seawall.audit_append_batch(contexts text[], events text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO seawall.audit_events (tenant_id, user_id, session_id, kind, outcome, body)
    SELECT nullif(c.part[2], '')::uuid, nullif(c.part[3], '')::uuid, nullif(c.part[4], '')::uuid,
           e.body ->> 'kind', e.body ->> 'outcome', e.body - 'kind' - 'outcome'
    FROM unnest(contexts, events) WITH ORDINALITY AS given(context, event, n),
         LATERAL (SELECT seawall.verify(given.context) AS part) c, LATERAL (SELECT given.event::jsonb AS body) e
    ORDER BY given.n;
END $$;
GRANT EXECUTE ON FUNCTION seawall.audit_append_batch(text[], text[]) TO seawall_app;

-- Identity knows who somebody is before there is a context to verify.
CREATE OR REPLACE FUNCTION seawall.audit_append_as(tenant uuid, person uuid, session uuid, events text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO seawall.audit_events (tenant_id, user_id, session_id, kind, outcome, body)
    SELECT tenant, person, session, e.body ->> 'kind', e.body ->> 'outcome', e.body - 'kind' - 'outcome'
    FROM unnest(events) WITH ORDINALITY AS given(event, n), LATERAL (SELECT given.event::jsonb AS body) e
    ORDER BY given.n;
END $$;
GRANT EXECUTE ON FUNCTION seawall.audit_append_as(uuid, uuid, uuid, text[]) TO seawall_identity;

-- "No audit event, no commit": a deferred constraint trigger, here on Seawall's own tables and by store/walls.py on those
-- that a model declares `__audited__`. Sealing a row anew changes nothing that it says, and erasing a tenant or a person is
-- one event and not one for each row that it touches: an audited table takes the event of these in place of its own.
CREATE OR REPLACE FUNCTION seawall.require_audit() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    context text := nullif(current_setting('seawall.ctx', true), '');
    operator boolean := context IS NOT NULL AND (seawall.verify(context))[5] = 'operator';
BEGIN
    IF NOT EXISTS (SELECT FROM seawall.audit_events
                   WHERE tx = pg_current_xact_id()
                     AND (TG_ARGV[0] = '' OR kind = TG_ARGV[0]
                          OR (TG_OP = 'UPDATE' AND kind = 'privacy.erasure')
                          OR (TG_OP = 'UPDATE' AND session_user = 'seawall_worker' AND kind = 'privacy.resealed')
                          OR (TG_OP = 'DELETE' AND operator AND kind = 'tenancy.lifecycle'))) THEN
        RAISE EXCEPTION 'seawall: a change to % without its audit event', TG_TABLE_NAME USING ERRCODE = '42501';
    END IF;
    RETURN NULL;
END $$;

-- PostgreSQL has no OR REPLACE for constraint triggers.
DROP TRIGGER IF EXISTS audited ON seawall.memberships;
CREATE CONSTRAINT TRIGGER audited AFTER INSERT OR UPDATE OR DELETE ON seawall.memberships
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION seawall.require_audit('access.grant');

DROP TRIGGER IF EXISTS audited ON seawall.approval_requests;
CREATE CONSTRAINT TRIGGER audited AFTER UPDATE OF decision, consumed_at ON seawall.approval_requests
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION seawall.require_audit('access.approval');

DROP TRIGGER IF EXISTS audited ON seawall.break_glass_grants;
CREATE CONSTRAINT TRIGGER audited AFTER INSERT OR UPDATE ON seawall.break_glass_grants
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION seawall.require_audit('access.break-glass');

DROP TRIGGER IF EXISTS audited ON seawall.factor_resets;
CREATE CONSTRAINT TRIGGER audited AFTER INSERT OR UPDATE ON seawall.factor_resets
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION seawall.require_audit('identity.factor-reset');
