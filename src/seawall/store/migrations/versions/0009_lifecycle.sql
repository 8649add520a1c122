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

-- Erasing a tenant is one event in the log, not one for each row: an operator's context stands for it.
CREATE OR REPLACE FUNCTION seawall.require_audit() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    context text := nullif(current_setting('seawall.ctx', true), '');
    erased boolean := TG_OP = 'DELETE' AND context IS NOT NULL AND (seawall.verify(context))[5] = 'operator';
BEGIN
    IF NOT EXISTS (SELECT FROM seawall.audit_events
                   WHERE tx = pg_current_xact_id()
                     AND (TG_ARGV[0] = '' OR kind = TG_ARGV[0] OR (erased AND kind = 'tenancy.lifecycle'))) THEN
        RAISE EXCEPTION 'seawall: a change to % without its audit event', TG_TABLE_NAME USING ERRCODE = '42501';
    END IF;
    RETURN NULL;
END $$;
