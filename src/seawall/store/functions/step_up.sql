-- Step-up: what a person has confirmed for one exact action.

-- Uses up one approval within the business transaction: a rollback gives it back, a concurrent second use waits for the
-- first and then finds it consumed. Who asks is taken from the verified context, never from an argument. Its audit event
-- is written right here, so that no caller can forget it.
CREATE OR REPLACE FUNCTION seawall.consume_approval(digest bytea) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    used record;
BEGIN
    UPDATE seawall.step_up_approvals p SET consumed_at = clock_timestamp()
    FROM seawall.step_up_challenges c
    WHERE p.id = (SELECT a.id FROM seawall.step_up_approvals a
                  WHERE a.session_id = seawall.session_id() AND a.user_id = seawall.user_id()
                    AND a.tenant_id = seawall.tenant_id() AND a.digest = consume_approval.digest
                    AND a.consumed_at IS NULL AND a.expires_at > clock_timestamp()
                  ORDER BY a.expires_at LIMIT 1 FOR UPDATE)
      AND p.consumed_at IS NULL AND c.id = p.challenge_id
    RETURNING p.id, p.user_id, c.id AS challenge_id, c.action INTO used;
    IF used.id IS NOT NULL THEN
        -- what was confirmed is kept no longer than it is needed
        UPDATE seawall.step_up_challenges c SET sealed = NULL WHERE c.id = used.challenge_id;
        INSERT INTO seawall.audit_events (tenant_id, user_id, session_id, kind, outcome, body)
        VALUES (seawall.tenant_id(), seawall.user_id(), seawall.session_id(), 'identity.step-up', 'success',
                jsonb_build_object('trace_id', '', 'user_id', used.user_id, 'challenge_id', used.challenge_id,
                                   'action', used.action, 'digest', encode(digest, 'hex'), 'step', 'consumed'));
    END IF;
    RETURN used.id;
END $$;
GRANT EXECUTE ON FUNCTION seawall.consume_approval(bytea) TO seawall_app;
