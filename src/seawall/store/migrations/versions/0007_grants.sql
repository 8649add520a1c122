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
GRANT SELECT, INSERT, UPDATE, DELETE ON seawall.approval_requests TO seawall_identity;

-- Admin safety ------------------------------------------------------------------------------------------------------
-- Roles that no tenant may lose the last live, tenant-wide holder of. An app's migration may add its own.
CREATE TABLE seawall.kept_roles (role text PRIMARY KEY CHECK (role ~ '^[a-z][a-z_]{0,62}$'));
INSERT INTO seawall.kept_roles VALUES ('owner');
GRANT SELECT ON seawall.kept_roles TO seawall_identity;

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
GRANT SELECT, INSERT ON seawall.break_glass_grants TO seawall_identity;
GRANT UPDATE (decided_by, decided_at, approved, expires_at, ended_at, ended_by)
    ON seawall.break_glass_grants TO seawall_identity;
