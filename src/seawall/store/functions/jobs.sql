-- Jobs: a tenant context comes only with a job that is claimed. One role claims, another does the work under the context
-- that it is handed: whatever is injected into a job's SQL runs as seawall_worker, and claims no other tenant's job.

-- An operator orders work on a tenant as a job of a kind `seawall.…`, so that the worker who does it gets the tenant's
-- context with the job and nothing else: nobody mints a tenant out of thin air. Apps cannot order such jobs.
CREATE OR REPLACE FUNCTION seawall.enqueue(kind text, payload jsonb) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE made uuid;
BEGIN
    IF enqueue.kind LIKE 'seawall.%' THEN
        RAISE EXCEPTION 'seawall: % is not an app''s kind of job', enqueue.kind USING ERRCODE = '42501';
    END IF;
    INSERT INTO seawall.jobs (tenant_id, enqueued_by, kind, payload)
    VALUES (seawall.tenant_id(), seawall.user_id(), enqueue.kind, enqueue.payload) RETURNING id INTO made;
    RETURN made;
END $$;
GRANT EXECUTE ON FUNCTION seawall.enqueue(text, jsonb) TO seawall_app, seawall_worker;

-- Of a suspended tenant only what an operator has ordered.
CREATE OR REPLACE FUNCTION seawall.claim(kinds text[], lease_s integer)
RETURNS TABLE (id uuid, kind text, payload jsonb, attempt integer, context text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
GRANT EXECUTE ON FUNCTION seawall.claim(text[], integer) TO seawall_dispatcher;

-- Fenced: only the holder of the newest attempt can finish a job, and only within its own context.
CREATE OR REPLACE FUNCTION seawall.finish(job uuid, attempt integer) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH done AS (UPDATE seawall.jobs SET finished_at = now()
                  WHERE id = job AND attempts = attempt AND finished_at IS NULL
                    AND id = seawall.session_id() AND tenant_id = seawall.tenant_id() RETURNING 1)
    SELECT EXISTS (SELECT FROM done)
$$;
GRANT EXECUTE ON FUNCTION seawall.finish(uuid, integer) TO seawall_worker;
