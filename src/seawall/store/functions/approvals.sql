-- Approvals by another person.

-- Whether a value is sealed in the same form as before, under a newer version of the key (core/master_seal.py).
CREATE OR REPLACE FUNCTION seawall.sealed_anew(before bytea, after bytea) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT substr(before, 1, 1) = substr(after, 1, 1) AND substr(before, 2, 4) < substr(after, 2, 4)
$$;
GRANT EXECUTE ON FUNCTION seawall.sealed_anew(bytea, bytea) TO seawall_identity;

-- It begins undecided, what is asked does not change, and what is settled stays settled: a decision may be taken back
-- (withdrawn, refused), never given again or to another. What is sealed may go over to a newer version of the key, which
-- stands in front of it; whether it then says the same is for the seal to tell. And a body may go.
CREATE OR REPLACE FUNCTION seawall.settled_approval() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.decision IS NOT NULL OR NEW.consumed_at IS NOT NULL THEN
            RAISE EXCEPTION 'seawall: an approval begins undecided' USING ERRCODE = '23514';
        END IF;
        RETURN NEW;
    END IF;
    IF seawall.sealed_anew(OLD.body, NEW.body) OR NEW.body IS NULL THEN OLD.body := NEW.body; END IF;
    IF seawall.sealed_anew(OLD.summary, NEW.summary) THEN OLD.summary := NEW.summary; END IF;
    IF seawall.sealed_anew(OLD.reason, NEW.reason) THEN OLD.reason := NEW.reason; END IF;
    IF seawall.sealed_anew(OLD.decision_reason, NEW.decision_reason) THEN
        OLD.decision_reason := NEW.decision_reason;
    END IF;
    IF (NEW.tenant_id, NEW.requester_id, NEW.digest, NEW.action, NEW.resource, NEW.body, NEW.summary, NEW.roles)
       IS DISTINCT FROM (OLD.tenant_id, OLD.requester_id, OLD.digest, OLD.action, OLD.resource, OLD.body, OLD.summary,
                         OLD.roles)
       OR (OLD.asked_at IS NOT NULL AND (NEW.asked_at, NEW.reason) IS DISTINCT FROM (OLD.asked_at, OLD.reason))
       OR ((OLD.consumed_at IS NOT NULL OR OLD.decision IN ('refused', 'withdrawn')) AND NEW IS DISTINCT FROM OLD)
       OR (OLD.decision = 'approved' AND NEW.decision = 'approved'
           AND (NEW.decided_by, NEW.decided_at, NEW.decision_reason, NEW.expires_at)
               IS DISTINCT FROM (OLD.decided_by, OLD.decided_at, OLD.decision_reason, OLD.expires_at))
       OR (OLD.decision = 'approved' AND NEW.decision IS NULL) THEN
        RAISE EXCEPTION 'seawall: a settled approval does not change' USING ERRCODE = '23514';
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER settled BEFORE INSERT OR UPDATE ON seawall.approval_requests
    FOR EACH ROW EXECUTE FUNCTION seawall.settled_approval();

-- Uses up one approval within the business transaction, like seawall.consume_approval() does a step-up. Who asks is
-- taken from the verified context; whoever approved must hold one of the roles NOW, tenant-wide unless `anywhere`: one
-- that the policy names now, and that it named when they were asked.
CREATE OR REPLACE FUNCTION seawall.consume_request(digest bytea, roles text[], anywhere boolean)
RETURNS TABLE (id uuid, approver uuid, memberships text[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    live record;
    held text[];
BEGIN
    SELECT r.id, r.decided_by, r.action, r.roles INTO live FROM seawall.approval_requests r
    WHERE r.requester_id = seawall.user_id() AND r.tenant_id = seawall.tenant_id() AND r.digest = consume_request.digest
      AND r.decision = 'approved' AND r.decided_by <> r.requester_id AND r.consumed_at IS NULL
      AND r.expires_at > clock_timestamp()
    ORDER BY r.expires_at LIMIT 1 FOR UPDATE;
    IF NOT FOUND THEN RETURN; END IF;
    SELECT array_agg(concat_ws('|', m.role, m.scope_type, m.scope_id)) INTO held
    FROM seawall.memberships m JOIN seawall.users u ON u.id = m.user_id AND u.disabled_at IS NULL
    WHERE m.user_id = live.decided_by AND m.tenant_id = seawall.tenant_id()
      AND (m.expires_at IS NULL OR m.expires_at > now())
    HAVING bool_or(m.role = ANY (consume_request.roles) AND m.role = ANY (live.roles)
                   AND (anywhere OR m.scope_id IS NULL));
    IF held IS NULL THEN RETURN; END IF;
    -- what the browser would have sent again is kept no longer than it is needed
    UPDATE seawall.approval_requests r SET consumed_at = clock_timestamp(), body = NULL
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
