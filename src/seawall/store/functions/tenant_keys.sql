-- Tenants' data keys, wrapped by the vault: read, rotated, retired, destroyed. What is here opens nothing without the vault.

-- The wrapped keys of the tenant whom the verified context names. An operator reads those of a suspended tenant too, to
-- export it or a person of it.
CREATE OR REPLACE FUNCTION seawall.read_tenant_keys() RETURNS TABLE (version integer, wrapped text, state text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE tenant uuid := seawall.tenant_id();   -- refuses a suspended tenant by itself
BEGIN
    RETURN QUERY SELECT k.version, k.wrapped, k.state FROM seawall.tenant_keys k
                 WHERE k.tenant_id = tenant ORDER BY k.version;
END $$;

-- Whoever seals holds this lock shared until the end of the transaction; whoever changes the keys takes it alone. So when
-- a rotation has committed, no transaction is left that could still write under the version before. It does not queue at
-- first: whoever queues for an exclusive lock stops those who come for a shared one, and one of these may hold the row that
-- a holder waits for.
CREATE OR REPLACE FUNCTION seawall.lock_tenant_keys(tenant uuid, alone boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT alone THEN
        PERFORM pg_advisory_xact_lock_shared(7309455, hashtext(tenant::text));
        RETURN;
    END IF;
    FOR attempt IN 1..500 LOOP
        IF pg_try_advisory_xact_lock(7309455, hashtext(tenant::text)) THEN RETURN; END IF;
        PERFORM pg_sleep(0.02);
    END LOOP;
    PERFORM pg_advisory_xact_lock(7309455, hashtext(tenant::text));  -- never a free moment in 10 s: then wait in line
END $$;

-- Whether a version is current, and from now on until the transaction ends.
CREATE OR REPLACE FUNCTION seawall.hold_tenant_key(held integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE tenant uuid := seawall.tenant_id();
BEGIN
    PERFORM seawall.lock_tenant_keys(tenant, false);
    RETURN EXISTS (SELECT FROM seawall.tenant_keys k
                   WHERE k.tenant_id = tenant AND k.version = held AND k.state = 'current');
END $$;

-- Counts seals before they are made. False when the version may seal no more, or is not current.
CREATE OR REPLACE FUNCTION seawall.grant_seals(held integer, more integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE seawall.tenant_keys k SET seals = k.seals + more
    WHERE k.tenant_id = seawall.tenant_id() AND k.version = held AND k.state = 'current'
      AND more BETWEEN 1 AND 1048576 AND k.seals + more <= 4294967296;
    RETURN FOUND;
END $$;

-- The first key of a tenant. Of two that come at once the first one stays, and both processes read that.
CREATE OR REPLACE FUNCTION seawall.add_first_tenant_key(wrapped text, kek integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE tenant uuid := seawall.tenant_id();
BEGIN
    IF tenant IS NULL THEN RAISE EXCEPTION 'seawall: no tenant context' USING ERRCODE = '42501'; END IF;
    PERFORM seawall.lock_tenant_keys(tenant, true);
    IF EXISTS (SELECT FROM seawall.tenant_keys k WHERE k.tenant_id = tenant) THEN RETURN false; END IF;
    INSERT INTO seawall.tenant_keys (tenant_id, version, wrapped, kek_version) VALUES (tenant, 1, wrapped, kek);
    RETURN true;
END $$;
GRANT EXECUTE ON FUNCTION seawall.read_tenant_keys(), seawall.hold_tenant_key(integer), seawall.grant_seals(integer, integer),
                          seawall.add_first_tenant_key(text, integer) TO seawall_app, seawall_worker;

-- Rotation, by the worker in the tenant's job. `made` must follow the current version: of two that rotate at once one wins.
CREATE OR REPLACE FUNCTION seawall.rotate_tenant_key(made integer, wrapped text, kek integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE tenant uuid := seawall.tenant_id();
BEGIN
    PERFORM seawall.lock_tenant_keys(tenant, true);
    UPDATE seawall.tenant_keys k SET state = 'old', changed_at = now()
    WHERE k.tenant_id = tenant AND k.state = 'current' AND k.version = made - 1;
    IF NOT FOUND THEN RETURN false; END IF;
    INSERT INTO seawall.tenant_keys (tenant_id, version, wrapped, kek_version) VALUES (tenant, made, wrapped, kek);
    RETURN true;
END $$;

CREATE OR REPLACE FUNCTION seawall.rewrap_tenant_key(of_version integer, old_wrapped text, new_wrapped text, kek integer)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE seawall.tenant_keys k SET wrapped = new_wrapped, kek_version = kek, changed_at = now()
    WHERE k.tenant_id = seawall.tenant_id() AND k.version = of_version AND k.wrapped = old_wrapped;
    RETURN FOUND;
END $$;

CREATE OR REPLACE FUNCTION seawall.retire_tenant_keys(before integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant uuid := seawall.tenant_id();
    retired integer;
BEGIN
    PERFORM seawall.lock_tenant_keys(tenant, true);
    UPDATE seawall.tenant_keys k SET state = 'retired', wrapped = NULL, changed_at = now()
    WHERE k.tenant_id = tenant AND k.state = 'old' AND k.version < before;
    GET DIAGNOSTICS retired = ROW_COUNT;
    RETURN retired;
END $$;
GRANT EXECUTE ON FUNCTION seawall.rotate_tenant_key(integer, text, integer),
                          seawall.rewrap_tenant_key(integer, text, text, integer),
                          seawall.retire_tenant_keys(integer) TO seawall_worker;

-- Crypto-shredding, by the owner only. The tombstone stays, so that no new key is made for what has been erased.
CREATE OR REPLACE FUNCTION seawall.destroy_tenant_keys(tenant uuid) RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE destroyed integer;
BEGIN
    PERFORM seawall.lock_tenant_keys(tenant, true);
    UPDATE seawall.tenant_keys k SET state = 'destroyed', wrapped = NULL, changed_at = now()
    WHERE k.tenant_id = tenant AND k.state <> 'destroyed';
    GET DIAGNOSTICS destroyed = ROW_COUNT;
    INSERT INTO seawall.tenant_keys (tenant_id, version, kek_version, state) VALUES (tenant, 1, 1, 'destroyed')
    ON CONFLICT DO NOTHING;
    RETURN destroyed;
END $$;

-- Every process hears when a tenant's keys or its suspension change. Only the id is told. What was destroyed, suspended or
-- deleted is dropped at once; a rotation lets transactions that are under way end with what they have.
CREATE OR REPLACE FUNCTION seawall.tell_tenant_keys() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    told jsonb := to_jsonb(CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END);
    revoked boolean := TG_OP = 'DELETE' OR TG_TABLE_NAME = 'tenants' OR told ->> 'state' = 'destroyed';
BEGIN
    PERFORM pg_notify('seawall_tenant_keys', CASE WHEN revoked THEN 'revoked:' ELSE 'changed:' END
                                             || coalesce(told ->> 'tenant_id', told ->> 'id'));
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER told AFTER INSERT OR UPDATE OF state, wrapped OR DELETE ON seawall.tenant_keys
    FOR EACH ROW EXECUTE FUNCTION seawall.tell_tenant_keys();
CREATE OR REPLACE TRIGGER keys_told AFTER UPDATE OF suspended_at OR DELETE ON seawall.tenants
    FOR EACH ROW EXECUTE FUNCTION seawall.tell_tenant_keys();

-- A tenant whose row is gone, but whose key is still in the vault, could be brought back from any backup.
CREATE OR REPLACE FUNCTION seawall.require_destroyed_keys() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM seawall.tenant_keys k WHERE k.tenant_id = OLD.id AND k.wrapped IS NOT NULL) THEN
        RAISE EXCEPTION 'seawall: destroy the keys of tenant % before its row (seawall keys destroy)', OLD.id
            USING ERRCODE = '55000';
    END IF;
    RETURN OLD;
END $$;
CREATE OR REPLACE TRIGGER keys_first BEFORE DELETE ON seawall.tenants
    FOR EACH ROW EXECUTE FUNCTION seawall.require_destroyed_keys();
