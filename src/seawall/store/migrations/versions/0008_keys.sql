-- Tenant data keys, wrapped by the vault. What is here opens nothing without the vault's key of the same tenant.
--
--   current    new values are sealed under it; at most one a tenant
--   old        opens what was sealed before the last rotation, until everything is sealed anew
--   retired    accepted no more; the wrapped key is gone from here
--   destroyed  crypto-shredded: every version, for good
CREATE TABLE seawall.tenant_keys (
    tenant_id   uuid NOT NULL REFERENCES seawall.tenants ON DELETE CASCADE,
    version     integer NOT NULL CHECK (version > 0),
    wrapped     text CHECK (wrapped ~ '^vault:v[0-9]{1,9}:[A-Za-z0-9+/=]+$' AND length(wrapped) <= 500),
    kek_version integer NOT NULL CHECK (kek_version > 0),
    state       text NOT NULL DEFAULT 'current' CHECK (state IN ('current', 'old', 'retired', 'destroyed')),
    seals       bigint NOT NULL DEFAULT 0 CHECK (seals BETWEEN 0 AND 4294967296),  -- granted, NIST SP 800-38D §8.3
    created_at  timestamptz NOT NULL DEFAULT now(),
    changed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, version),
    CHECK ((wrapped IS NULL) = (state IN ('retired', 'destroyed')))
);
CREATE UNIQUE INDEX tenant_keys_current ON seawall.tenant_keys (tenant_id) WHERE state = 'current';
