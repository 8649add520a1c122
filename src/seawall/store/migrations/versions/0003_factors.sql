-- Passkeys, and what a privileged role demands.
SELECT 1;
