-- Pseudonyms: what another service knows a person or object by. Random, one for each service, so that two services cannot
-- join what they know, and an erased person's are names of nobody.

CREATE OR REPLACE FUNCTION seawall.pseudonym_in(tenant uuid, service text, subject uuid) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE known text;
BEGIN
    IF tenant IS NULL THEN RAISE EXCEPTION 'seawall: no tenant context' USING ERRCODE = '42501'; END IF;
    SELECT p.token INTO known FROM seawall.pseudonyms p
    WHERE p.tenant_id = tenant AND p.service = pseudonym_in.service AND p.subject = pseudonym_in.subject;
    IF known IS NULL THEN
        -- gen_random_uuid() draws from pg_strong_random: 122 bits
        INSERT INTO seawall.pseudonyms (tenant_id, service, subject, token)
        VALUES (tenant, pseudonym_in.service, pseudonym_in.subject, 'p_' || replace(gen_random_uuid()::text, '-', ''))
        ON CONFLICT ON CONSTRAINT pseudonyms_pkey DO UPDATE SET service = excluded.service   -- waits for the other one
        RETURNING token INTO known;
    END IF;
    RETURN known;
END $$;

-- For the app's services. Those of API clients are identity's: what an access token calls a person is not for the app to
-- look up.
CREATE OR REPLACE FUNCTION seawall.pseudonym(service text, subject uuid) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF starts_with(service, 'client.') THEN
        RAISE EXCEPTION 'seawall: services named client.… are API clients' USING ERRCODE = '42501';
    END IF;
    RETURN seawall.pseudonym_in(seawall.tenant_id(), service, subject);
END $$;

-- Whom a service means, in the caller's own tenant; nobody by another service's token.
CREATE OR REPLACE FUNCTION seawall.subject_of(service text, token text) RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.subject FROM seawall.pseudonyms p
    WHERE p.tenant_id = seawall.tenant_id() AND p.service = subject_of.service AND p.token = subject_of.token
      AND NOT starts_with(p.service, 'client.')
$$;
GRANT EXECUTE ON FUNCTION seawall.pseudonym(text, uuid), seawall.subject_of(text, text) TO seawall_app, seawall_worker;
GRANT EXECUTE ON FUNCTION seawall.pseudonym_in(uuid, text, uuid) TO seawall_identity;
