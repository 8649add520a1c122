"""What PostgreSQL's catalogue says about walls with holes: each query gives the names of what it finds.

Parameters: $1 the app's schemas, $2 the tenant column, $3 the mark of a table that belongs to no tenant, $4 the app's
role, $5 how this server prints the canonical policy.
"""

from __future__ import annotations

from typing import Final

_RELATION: Final = "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = ANY ($1)"
_TABLE: Final = f"{_RELATION} AND c.relkind IN ('r', 'p')"
_COLUMN: Final = "pg_attribute a ON a.attrelid = c.oid AND a.attname = $2 AND NOT a.attisdropped"
_TENANTED: Final = f"{_TABLE} JOIN {_COLUMN}"
_UNTENANTED: Final = f"{_TABLE} LEFT JOIN {_COLUMN} WHERE a.attnum IS NULL"
_NAME: Final = "SELECT n.nspname || '.' || c.relname"
_INVOKER: Final = "ARRAY['security_invoker=true', 'security_invoker=on', 'security_invoker=1']"

FAULTS: Final = {
    "a tenant table without row-level security": f"{_NAME} {_TENANTED} WHERE NOT c.relrowsecurity",
    "row-level security that is not FORCEd": f"""
        {_NAME} {_TENANTED} WHERE c.relrowsecurity AND NOT c.relforcerowsecurity""",
    "a table that has no tenant and does not say that it belongs to none": f"""
        {_NAME} {_UNTENANTED} AND strpos(coalesce(obj_description(c.oid, 'pg_class'), ''), $3) = 0""",
    "a table of no tenant that the app's role may write to": f"""
        {_NAME} {_UNTENANTED} AND has_table_privilege($4, c.oid, 'INSERT, UPDATE, DELETE')""",
    # Walls stand around the app's schemas; what the app's role can reach beside them stands behind none.
    "a table or view outside the app's schemas that the app's role may read or write": """
        SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname <> ALL ($1) AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
          AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND has_schema_privilege($4, n.oid, 'USAGE')
          AND has_any_column_privilege($4, c.oid, 'SELECT, UPDATE')
          AND strpos(coalesce(obj_description(c.oid, 'pg_class'), ''), $3) = 0""",
    "a tenant table without any policy": f"""
        {_NAME} {_TENANTED}
        WHERE NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polpermissive)""",
    # A restrictive policy can only take away, so only permissive ones can be holes.
    "a policy that is not the canonical wall": f"""
        {_NAME} || '.' || p.polname {_TENANTED} JOIN pg_policy p ON p.polrelid = c.oid AND p.polpermissive
        WHERE NOT coalesce(pg_get_expr(p.polqual, p.polrelid) = ANY ($5), p.polcmd = 'a')
           OR NOT coalesce(pg_get_expr(p.polwithcheck, p.polrelid) = ANY ($5), p.polcmd <> 'a')""",
    "a tenant column that may be NULL": f"{_NAME} {_TENANTED} WHERE NOT a.attnotnull",
    # A duplicate-key error would tell that another tenant's row exists; so would an exclusion constraint's. What is
    # only INCLUDEd is no part of the key.
    "a unique key or exclusion constraint without the tenant": f"""
        {_NAME} || '.' || i.indexrelid::regclass {_TENANTED} JOIN pg_index i ON i.indrelid = c.oid
          AND (i.indisunique OR i.indisexclusion)
        WHERE NOT a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])""",
    # Referential checks do not go through row-level security.
    "a foreign key that does not carry the tenant": f"""
        {_NAME} || '.' || k.conname {_TENANTED} JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'f'
        JOIN pg_attribute far ON far.attrelid = k.confrelid AND far.attname = $2 AND NOT far.attisdropped
        WHERE NOT EXISTS (SELECT FROM unnest(k.conkey, k.confkey) AS pair (near_key, far_key)
                          WHERE pair.near_key = a.attnum AND pair.far_key = far.attnum)""",
    "a tenant table without an index that begins with the tenant": f"""
        {_NAME} {_TENANTED}
        WHERE NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indkey[0] = a.attnum)""",
    "a view that runs with its owner's rights": f"""
        {_NAME} {_RELATION} WHERE c.relkind = 'v' AND has_table_privilege($4, c.oid, 'SELECT')
          AND NOT coalesce(c.reloptions && {_INVOKER}, false)""",
    "a materialised view or foreign table that the app's role may read": f"""
        {_NAME} {_RELATION} WHERE c.relkind IN ('m', 'f') AND has_table_privilege($4, c.oid, 'SELECT')""",
    "a partition that its parent's wall does not guard": f"""
        {_NAME} {_TABLE} JOIN pg_inherits i ON i.inhrelid = c.oid JOIN pg_class p ON p.oid = i.inhparent
        WHERE p.relrowsecurity AND NOT (c.relrowsecurity AND c.relforcerowsecurity)""",
    "a publication that exports tenant tables": """
        SELECT pubname::text FROM pg_publication p
        WHERE puballtables OR EXISTS (
            SELECT FROM pg_publication_rel r JOIN pg_class c ON c.oid = r.prrelid
            JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = ANY ($1) WHERE r.prpubid = p.oid)""",
    # Such a function sees rows before the wall filters them. 16384 is the first oid that is not PostgreSQL's own.
    "a function that claims to be leak-proof": """
        SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.proleakproof AND p.oid >= 16384""",
}

RIGHTS: Final = {
    "a right of the app's role to bypass, own, create roles or replicate, its own or inherited": """
        SELECT r.rolname::text FROM pg_roles r
        WHERE pg_has_role($4, r.oid, 'MEMBER')
          AND (r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication
               OR EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                          WHERE c.relowner = r.oid AND n.nspname = ANY ($1)))""",
    "another login role that bypasses row-level security": """
        SELECT l.rolname::text FROM pg_roles l
        WHERE l.rolcanlogin AND NOT l.rolsuper
          AND EXISTS (SELECT FROM pg_roles r WHERE r.rolbypassrls AND pg_has_role(l.oid, r.oid, 'MEMBER'))""",
    "a login role that has the rights of the tables' owner without saying SET ROLE": """
        SELECT DISTINCT l.rolname::text FROM pg_roles l, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE l.rolcanlogin AND NOT l.rolsuper AND n.nspname = ANY ($1) AND pg_has_role(l.oid, c.relowner, 'USAGE')""",
    "a table on which the app's role may truncate, reference, put triggers or maintain": f"""
        {_NAME} {_TABLE} WHERE has_table_privilege($4, c.oid, 'TRUNCATE, REFERENCES, TRIGGER, MAINTAIN')""",
    "a schema in which the app's role may create": """
        SELECT nspname::text FROM pg_namespace
        WHERE nspname !~ '^pg_(toast_)?temp' AND has_schema_privilege($4, oid, 'CREATE')""",
    "a right of the app's role to create in the database": """
        SELECT current_database()::text WHERE has_database_privilege($4, current_database(), 'CREATE, TEMP')""",
    "a tenant context or row_security setting pinned on a role or database": """
        SELECT coalesce(setrole::regrole::text, '*') || ': ' || setting
        FROM pg_db_role_setting, unnest(setconfig) setting
        WHERE setting LIKE $6 || '=%' OR setting LIKE 'row_security=%' OR setting LIKE 'session_replication_role=%'""",
    "default privileges that give something to everybody": """
        SELECT defaclrole::regrole || ' ' || defaclobjtype::text FROM pg_default_acl, aclexplode(defaclacl) x
        WHERE x.grantee = 0""",
    # Its caller chooses what unqualified names in it mean.
    "a function with its owner's rights, open to the app's role, without a fixed search_path": """
        SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE p.prosecdef AND n.nspname <> 'pg_catalog' AND has_function_privilege($4, p.oid, 'EXECUTE')
          AND NOT EXISTS (SELECT FROM unnest(coalesce(p.proconfig, '{}')) c WHERE c LIKE 'search_path=%')""",
    "a function with its owner's rights in an app's schema, open to the app's role": """
        SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE p.prosecdef AND n.nspname = ANY ($1) AND has_function_privilege($4, p.oid, 'EXECUTE')""",
}
