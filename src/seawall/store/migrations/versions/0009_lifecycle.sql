-- Suspending, exporting and erasing tenants.

ALTER TABLE seawall.tenants
    ADD COLUMN erasing_at timestamptz,     -- from then on there is no way back
    ADD CONSTRAINT tenants_erasing_is_suspended CHECK (erasing_at IS NULL OR suspended_at IS NOT NULL);

-- Pseudonyms: what another service knows a person or object by. Random, one for each service, so that two services cannot
-- join what they know, and an erased person's are names of nobody.
CREATE TABLE seawall.pseudonyms (
    tenant_id  uuid NOT NULL REFERENCES seawall.tenants ON DELETE CASCADE,
    service    text NOT NULL CHECK (service ~ '^[a-z][a-z0-9._-]{0,62}$'),
    subject    uuid NOT NULL,
    token      text NOT NULL UNIQUE CHECK (token ~ '^p_[0-9a-f]{32}$'),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, service, subject)
);
