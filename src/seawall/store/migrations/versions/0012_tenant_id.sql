-- The tenant that the context names and the database itself has vouched for: asked by every statement on a tenant's
-- table, so by one statement now, since PL/pgSQL sets every expression up anew in each transaction. It answers for a
-- context that is sound; every other is taken apart by seawall.verify, which says what is wrong with it.
CREATE OR REPLACE FUNCTION seawall.tenant_id() RETURNS uuid
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    context text := nullif(current_setting('seawall.ctx', true), '');
    tenant uuid;
BEGIN
    IF context IS NULL THEN RETURN NULL; END IF;
    SELECT CASE WHEN right(context, 64) = encode(sha256(k.outer_pad || sha256(k.inner_pad
                         || convert_to(left(context, -65), 'UTF8'))), 'hex')
                     -- only of what is authentic is anything read
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
