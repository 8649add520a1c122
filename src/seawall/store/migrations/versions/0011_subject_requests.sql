-- Copies and erasures of people who asked an operator, by letter.

-- The tenant of an operator's context, which comes with a job that the owner alone can order; refuses any other context.
CREATE FUNCTION seawall.operated_tenant() RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
DECLARE
    context text := nullif(current_setting('seawall.ctx', true), '');
    part text[] := CASE WHEN context IS NULL THEN NULL ELSE seawall.verify(context) END;
BEGIN
    IF part IS NULL OR part[5] <> 'operator' THEN
        RAISE EXCEPTION 'seawall: not an operator''s context' USING ERRCODE = '42501';
    END IF;
    RETURN part[2]::uuid;
END $$;

-- The same as `forget_me` and `about_me`, for somebody else; in the transaction that empties the app's rows and records it.
CREATE FUNCTION seawall.forget_subject(person uuid) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT seawall.forget_person(seawall.operated_tenant(), person)
$$;

CREATE FUNCTION seawall.about_subject(person uuid) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT seawall.about_person(seawall.operated_tenant(), person)
$$;
GRANT EXECUTE ON FUNCTION seawall.forget_subject(uuid), seawall.about_subject(uuid) TO seawall_worker;
