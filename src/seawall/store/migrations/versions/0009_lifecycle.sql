-- Suspending, exporting and erasing tenants and people; pseudonyms.
SELECT 1;
