-- Whom a token speaks of: a pseudonym of the client's own (OpenID Connect Core §8.1), so that two clients, and whoever reads
-- their tokens and logs, cannot join what they know of a person. The service is `client.` and the client's id.
ALTER TABLE seawall.pseudonyms DROP CONSTRAINT pseudonyms_service_check,
    ADD CONSTRAINT pseudonyms_service_check CHECK (service ~ '^[a-z][a-z0-9._-]{0,79}$');   -- holds `client.` and 64 more

-- Beside the grant and not only in the table of pseudonyms: admission compares it, in a row that it has in hand anyway.
ALTER TABLE seawall.client_grants ADD COLUMN subject text;
INSERT INTO seawall.pseudonyms (tenant_id, service, subject, token)
    SELECT DISTINCT ON (s.tenant_id, s.client_id, s.user_id) s.tenant_id, 'client.' || s.client_id, s.user_id,
           'p_' || replace(gen_random_uuid()::text, '-', '')
    FROM seawall.sessions s JOIN seawall.client_grants g ON g.id = s.id ON CONFLICT DO NOTHING;
UPDATE seawall.client_grants g SET subject = p.token
    FROM seawall.sessions s
    JOIN seawall.pseudonyms p ON p.tenant_id = s.tenant_id AND p.service = 'client.' || s.client_id AND p.subject = s.user_id
    WHERE s.id = g.id;
ALTER TABLE seawall.client_grants ALTER COLUMN subject SET NOT NULL,
    ADD CONSTRAINT client_grants_subject_check CHECK (length(subject) BETWEEN 1 AND 64);

-- Somebody lost all their second factors, and an operator took them away (`seawall person reset-factors`). Why and by which
-- ticket is kept here, since the log holds no free text; the person reads of it on their account page. Leaves with the person.
CREATE TABLE seawall.factor_resets (
    id        uuid PRIMARY KEY DEFAULT uuidv7(),
    tenant_id uuid NOT NULL,             -- at whose request
    user_id   uuid NOT NULL,
    reason    text NOT NULL CHECK (length(reason) BETWEEN 10 AND 500),
    ticket    text NOT NULL CHECK (ticket ~ '^[A-Za-z0-9][A-Za-z0-9#/_.-]{0,63}$'),
    reset_at  timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (tenant_id, user_id) REFERENCES seawall.tenant_people ON DELETE CASCADE
);
CREATE INDEX factor_resets_user ON seawall.factor_resets (user_id, id);
CREATE INDEX factor_resets_person ON seawall.factor_resets (tenant_id, user_id);
GRANT SELECT (id, user_id, ticket, reset_at) ON seawall.factor_resets TO seawall_identity;
