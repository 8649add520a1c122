-- Tenant data keys, wrapped by the vault.
SELECT 1;
