-- Requests for a step-up and for an approval hold what was sent with them, so they are sealed (store/sealed_requests.py).
--
-- The database cannot seal what is there: it has never seen the key. So all of it ends. What waits is asked for again:
-- a step-up lives for minutes, and of an approval the person is told when they try. Who asked, decided and used what, and
-- when, stays in the audit log. TRUNCATE also puts new files in place of the old ones, in which deleted rows would go on
-- lying; backups and WAL of before hold them for as long as they are kept.
TRUNCATE seawall.step_up_approvals, seawall.step_up_challenges, seawall.approval_requests;

ALTER TABLE seawall.step_up_challenges
    DROP COLUMN params,
    DROP COLUMN summary,
    DROP COLUMN resume,
    ADD COLUMN sealed bytea;                    -- params, summary, resume; NULL once its approval was used
-- For the sweep of what is over.
CREATE INDEX step_up_challenges_expires ON seawall.step_up_challenges (expires_at);

-- With each column go the conditions that name it.
ALTER TABLE seawall.approval_requests
    DROP COLUMN params,
    DROP COLUMN resume,
    DROP COLUMN summary,
    DROP COLUMN reason,
    DROP COLUMN decision_reason,
    ADD COLUMN body bytea CHECK (length(body) <= 131072),       -- params, resume
    ADD COLUMN summary bytea NOT NULL CHECK (length(summary) <= 8192),
    ADD COLUMN reason bytea CHECK (length(reason) <= 8192),
    ADD COLUMN decision_reason bytea CHECK (length(decision_reason) <= 8192),
    ADD CONSTRAINT asked_with_a_reason CHECK ((asked_at IS NULL) = (reason IS NULL)),
    -- what would be sent again is kept no longer than it can be
    ADD CONSTRAINT settled_without_a_body CHECK (
        body IS NULL OR (consumed_at IS NULL AND (decision IS NULL OR decision = 'approved')));
-- For the sweep of what is over.
CREATE INDEX approval_requests_bodies ON seawall.approval_requests (expires_at) WHERE body IS NOT NULL;
