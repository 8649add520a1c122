-- The verified tenant context: who is asking, signed by the database, in the setting `seawall.ctx`.

-- context = kid . tenant . user . session . kind . expiry(s) . hex(hmac); user or session may be empty (jobs)
CREATE OR REPLACE FUNCTION seawall.mint(tenant uuid, person uuid, session uuid, kind text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    key record;
    said text;
BEGIN
    SELECT kid, inner_pad, outer_pad INTO STRICT key
    FROM seawall.context_keys WHERE retired_at IS NULL ORDER BY kid DESC LIMIT 1;
    said := concat_ws('.', key.kid, tenant, coalesce(person::text, ''), coalesce(session::text, ''), kind,
                      (extract(epoch FROM clock_timestamp()) + 60)::bigint);
    RETURN said || '.' || encode(sha256(key.outer_pad || sha256(key.inner_pad || convert_to(said, 'UTF8'))), 'hex');
END $$;

-- The context of a session, or NULL when it belongs to a privileged person and has proved one factor only: then there is
-- no tenant, hence no row, whatever the app's code does. `memberships` as in seawall.admit: role|scope type|scope id.
CREATE OR REPLACE FUNCTION seawall.mint_for_session(tenant uuid, person uuid, session uuid, aal smallint, memberships text[])
RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF aal < 2 AND EXISTS (SELECT FROM unnest(memberships) AS held
                           JOIN seawall.privileged_roles p ON p.role = split_part(held, '|', 1)) THEN
        RETURN NULL;
    END IF;
    RETURN seawall.mint(tenant, person, session, 'session');
END $$;

-- Gives the parts of a context, or raises 42501. Expiry is against the transaction's start, so that a transaction which
-- began in time may end; a context with no MAC at all compares as NULL, hence IS DISTINCT FROM. A context of kind
-- `breakglass` is for the role seawall_breakglass, whose every read is witnessed, and is worth what its grant is worth at
-- the moment of the statement. All other kinds pay for one comparison.
CREATE OR REPLACE FUNCTION seawall.verify(context text) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part text[] := string_to_array(context, '.');
    key record;
BEGIN
    IF cardinality(part) IS DISTINCT FROM 7 OR part[1] !~ '^[0-9]{1,9}$' OR part[6] !~ '^[0-9]{1,12}$' THEN
        RAISE EXCEPTION 'seawall: malformed tenant context' USING ERRCODE = '42501';
    END IF;
    SELECT inner_pad, outer_pad INTO key FROM seawall.context_keys
    WHERE kid = part[1]::integer AND (retired_at IS NULL OR retired_at > now() - interval '2 minutes');
    IF NOT FOUND OR part[7] IS DISTINCT FROM encode(sha256(key.outer_pad || sha256(key.inner_pad
            || convert_to(array_to_string(part[1:6], '.'), 'UTF8'))), 'hex') THEN
        RAISE EXCEPTION 'seawall: forged tenant context' USING ERRCODE = '42501';
    END IF;
    IF part[6]::bigint < extract(epoch FROM now()) THEN
        RAISE EXCEPTION 'seawall: expired tenant context' USING ERRCODE = '42501';
    END IF;
    IF (part[5] = 'breakglass') <> (session_user = 'seawall_breakglass') THEN
        RAISE EXCEPTION 'seawall: this context is for another role' USING ERRCODE = '42501';
    END IF;
    IF part[5] = 'breakglass' AND NOT seawall.grant_holds(part[4]::uuid, part[2]::uuid, part[3]::uuid) THEN
        RAISE EXCEPTION 'seawall: the break-glass grant is over' USING ERRCODE = '42501';
    END IF;
    RETURN part;
END $$;

-- A context outlives the request it was minted for by up to a minute, so suspension is asked for wherever rows are
-- guarded. Only an operator's context goes on: it exports and erases tenants that are suspended.
CREATE OR REPLACE FUNCTION seawall.live_tenant(part text[]) RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF part[5] <> 'operator' AND EXISTS (SELECT FROM seawall.tenants t
                                         WHERE t.id = part[2]::uuid AND t.suspended_at IS NOT NULL) THEN
        RAISE EXCEPTION 'seawall: the tenant is suspended' USING ERRCODE = '42501';
    END IF;
    RETURN part[2]::uuid;
END $$;

-- The tenant that the context names and the database itself has vouched for. Asked by every statement on a tenant's table,
-- hence one statement, since PL/pgSQL sets every expression up anew in each transaction. It answers for a context that is
-- sound; every other is taken apart by seawall.verify, which says what is wrong with it (or the cast of a part does, which
-- PostgreSQL may try before it compares: a refusal as well).
-- nullif: after SET LOCAL an unset setting reads as '', not NULL
CREATE OR REPLACE FUNCTION seawall.tenant_id() RETURNS uuid
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    context text := nullif(current_setting('seawall.ctx', true), '');
    tenant uuid;
BEGIN
    IF context IS NULL THEN RETURN NULL; END IF;
    SELECT CASE WHEN right(context, 64) = encode(sha256(k.outer_pad || sha256(k.inner_pad
                         || convert_to(left(context, -65), 'UTF8'))), 'hex')
                     AND split_part(context, '.', 5) <> 'breakglass' AND session_user <> 'seawall_breakglass'
                     AND split_part(context, '.', 6)::bigint >= extract(epoch FROM now())
                     AND NOT EXISTS (SELECT FROM seawall.tenants t
                                     WHERE t.id = split_part(context, '.', 2)::uuid AND t.suspended_at IS NOT NULL)
                THEN split_part(context, '.', 2)::uuid END INTO tenant
    FROM seawall.context_keys k
    WHERE k.kid::text = split_part(context, '.', 1)
      AND (k.retired_at IS NULL OR k.retired_at > now() - interval '2 minutes');
    RETURN coalesce(tenant, seawall.live_tenant(seawall.verify(context)));
END $$;

CREATE OR REPLACE FUNCTION seawall.user_id() RETURNS uuid
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE context text := nullif(current_setting('seawall.ctx', true), '');
BEGIN
    IF context IS NULL THEN RETURN NULL; END IF;
    RETURN nullif((seawall.verify(context))[3], '')::uuid;
END $$;

CREATE OR REPLACE FUNCTION seawall.session_id() RETURNS uuid
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE context text := nullif(current_setting('seawall.ctx', true), '');
BEGIN
    IF context IS NULL THEN RETURN NULL; END IF;
    RETURN nullif((seawall.verify(context))[4], '')::uuid;
END $$;
GRANT EXECUTE ON FUNCTION seawall.tenant_id(), seawall.user_id(), seawall.session_id()
    TO seawall_app, seawall_worker, seawall_breakglass;
GRANT EXECUTE ON FUNCTION seawall.tenant_id() TO seawall_auditor;

-- The tenant of an operator's context, which comes with a job that the owner alone can order; refuses any other context.
CREATE OR REPLACE FUNCTION seawall.operated_tenant() RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    context text := nullif(current_setting('seawall.ctx', true), '');
    part text[] := CASE WHEN context IS NULL THEN NULL ELSE seawall.verify(context) END;
BEGIN
    IF part IS NULL OR part[5] <> 'operator' THEN
        RAISE EXCEPTION 'seawall: not an operator''s context' USING ERRCODE = '42501';
    END IF;
    RETURN part[2]::uuid;
END $$;
