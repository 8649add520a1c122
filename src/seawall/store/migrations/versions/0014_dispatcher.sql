-- It claims jobs for seawall_worker, and that is all: it has no right on any table, nor on the schema of the app's.
-- CONNECT as well, since the statements for a whole database are not run again where `seawall dev` finds one.
DO $$ BEGIN EXECUTE format('GRANT CONNECT ON DATABASE %I TO seawall_dispatcher', current_database()); END $$;
GRANT USAGE ON SCHEMA seawall TO seawall_dispatcher;
