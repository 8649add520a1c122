-- Platform staff, outside all tenants. For the owner only (`seawall staff`).

-- Staff sign in like everybody else, so they need a tenant to be signed in to; it is one that holds nothing.
CREATE OR REPLACE FUNCTION seawall.add_staff(address text, called text) RETURNS uuid
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    platform uuid;
    person uuid;
BEGIN
    INSERT INTO seawall.tenants (slug, name) VALUES ('seawall-staff', 'Platform staff') ON CONFLICT (slug) DO NOTHING;
    SELECT id INTO STRICT platform FROM seawall.tenants WHERE slug = 'seawall-staff';
    INSERT INTO seawall.users (email, name) VALUES (lower(address), called) ON CONFLICT (email) DO NOTHING;
    SELECT id INTO STRICT person FROM seawall.users WHERE email = lower(address);
    IF EXISTS (SELECT FROM seawall.memberships WHERE user_id = person AND tenant_id <> platform) THEN
        RAISE EXCEPTION 'seawall: % already works for a tenant', address USING ERRCODE = '23514',
            HINT = 'staff are nobody''s members: give them another address';
    END IF;
    INSERT INTO seawall.memberships (tenant_id, user_id, role) VALUES (platform, person, 'platform_staff')
        ON CONFLICT DO NOTHING;
    INSERT INTO seawall.staff (user_id) VALUES (person)
        ON CONFLICT (user_id) DO UPDATE SET removed_at = NULL;
    PERFORM seawall.audit_append_as(platform, NULL, NULL, ARRAY[
        jsonb_build_object('kind', 'access.grant', 'outcome', 'success', 'trace_id', '', 'user_id', person,
                           'role', 'platform_staff', 'scope_type', '', 'scope_id', '', 'change', 'granted')::text]);
    RETURN person;
END $$;

-- And what they hold ends with it: grants and sessions.
CREATE OR REPLACE FUNCTION seawall.remove_staff(address text) RETURNS uuid
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    person uuid;
    platform uuid;
    one record;
BEGIN
    SELECT u.id INTO person FROM seawall.users u JOIN seawall.staff s ON s.user_id = u.id AND s.removed_at IS NULL
    WHERE u.email = lower(address);
    IF NOT FOUND THEN RETURN NULL; END IF;
    SELECT id INTO STRICT platform FROM seawall.tenants WHERE slug = 'seawall-staff';
    UPDATE seawall.staff SET removed_at = now() WHERE user_id = person;
    DELETE FROM seawall.memberships WHERE tenant_id = platform AND user_id = person;
    UPDATE seawall.users SET epoch = epoch + 1 WHERE id = person;
    FOR one IN UPDATE seawall.break_glass_grants SET ended_at = now(), ended_by = person
               WHERE staff_id = person AND ended_at IS NULL RETURNING id, tenant_id LOOP
        PERFORM seawall.audit_append_as(one.tenant_id, NULL, NULL, ARRAY[
            jsonb_build_object('kind', 'access.break-glass', 'outcome', 'success', 'trace_id', '',
                               'grant_id', one.id, 'staff_id', person, 'step', 'ended')::text]);
    END LOOP;
    PERFORM seawall.audit_append_as(platform, NULL, NULL, ARRAY[
        jsonb_build_object('kind', 'access.grant', 'outcome', 'success', 'trace_id', '', 'user_id', person,
                           'role', 'platform_staff', 'scope_type', '', 'scope_id', '', 'change', 'revoked')::text]);
    RETURN person;
END $$;
