-- Who belongs to a tenant: its last owner stays, and it knows everybody who ever did.

-- Of a role in seawall.kept_roles no tenant loses the last live, tenant-wide holder.
CREATE OR REPLACE FUNCTION seawall.keep_the_last() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
CREATE OR REPLACE TRIGGER keep_the_last AFTER DELETE OR UPDATE ON seawall.memberships
    FOR EACH ROW EXECUTE FUNCTION seawall.keep_the_last();

CREATE OR REPLACE FUNCTION seawall.remember_person() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO seawall.tenant_people (tenant_id, user_id) VALUES (NEW.tenant_id, NEW.user_id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER remember_person AFTER INSERT ON seawall.memberships
    FOR EACH ROW EXECUTE FUNCTION seawall.remember_person();
