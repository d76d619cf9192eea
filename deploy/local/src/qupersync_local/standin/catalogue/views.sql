-- System views that tell about real tables and transactions. Locks nothing: runs once in a new database.

-- What only Redshift knows of a table; the views fall back to plain values where it is absent.
CREATE TABLE pg_catalog.standin_table_facts (
    table_id oid NOT NULL UNIQUE,
    sortkeys text[] NOT NULL DEFAULT '{}',
    distkey text,
    diststyle text NOT NULL DEFAULT 'AUTO(EVEN)',
    encoded text NOT NULL DEFAULT 'Y, AUTO(ENCODE)',
    encoding text NOT NULL DEFAULT 'az64',
    deleted_rows bigint NOT NULL DEFAULT 0,
    size_mb bigint,
    unsorted numeric(5, 2),
    stats_off numeric(5, 2) NOT NULL DEFAULT 0,
    skew_sortkey1 numeric(19, 2),
    skew_rows numeric(19, 2),
    vacuum_sort_benefit numeric(12, 2),
    risk_event text,
    create_time timestamp NOT NULL DEFAULT timestamp '2024-01-01'
);

-- Rows of a table whoever asks. SECURITY DEFINER: the view, not the table, is what one may be granted.
CREATE FUNCTION pg_catalog.standin_count(relation regclass) RETURNS bigint LANGUAGE plpgsql STABLE SECURITY DEFINER AS $$
DECLARE
    found bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM %s', relation) INTO found;
    RETURN found;
END
$$;

CREATE VIEW pg_catalog.standin_tables AS
SELECT c.oid AS table_id, n.nspname AS schema_name, c.relname AS table_name, c.relkind AS kind
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\_%' AND c.relkind IN ('r', 'p', 'v', 'm');

CREATE VIEW pg_catalog.svv_all_columns AS
SELECT
    current_database()::varchar(128) AS database_name,
    t.schema_name::varchar(128) AS schema_name,
    t.table_name::varchar(128) AS table_name,
    a.attname::varchar(128) AS column_name,
    a.attnum::int AS ordinal_position,
    pg_get_expr(x.adbin, x.adrelid)::varchar(4000) AS column_default,
    CASE WHEN a.attnotnull OR d.typnotnull THEN 'NO' ELSE 'YES' END::varchar(3) AS is_nullable,
    CASE WHEN d.typname = 'text' THEN 'character varying' ELSE format_type(a.atttypid, NULL) END::varchar(128) AS data_type,
    CASE
        WHEN d.typname IN ('varchar', 'bpchar', 'varbyte') AND a.atttypmod >= 4 THEN a.atttypmod - 4
        WHEN d.typname = 'text' THEN 256
    END::int AS character_maximum_length,
    CASE
        WHEN d.typname = 'numeric' AND a.atttypmod >= 4 THEN (a.atttypmod - 4) >> 16
        WHEN d.typname = 'int2' THEN 16 WHEN d.typname = 'int4' THEN 32 WHEN d.typname = 'int8' THEN 64
        WHEN d.typname = 'float4' THEN 24 WHEN d.typname = 'float8' THEN 53
    END::int AS numeric_precision,
    CASE
        WHEN d.typname = 'numeric' AND a.atttypmod >= 4 THEN (a.atttypmod - 4) & 2047
        WHEN d.typname IN ('int2', 'int4', 'int8') THEN 0
    END::int AS numeric_scale,
    col_description(t.table_id, a.attnum)::varchar(256) AS remarks
FROM pg_catalog.standin_tables AS t
JOIN pg_attribute AS a ON a.attrelid = t.table_id AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type AS d ON d.oid = a.atttypid
LEFT JOIN pg_attrdef AS x ON x.adrelid = a.attrelid AND x.adnum = a.attnum
WHERE has_schema_privilege(t.schema_name, 'USAGE') AND has_column_privilege(t.table_id, a.attnum, 'SELECT, INSERT, UPDATE');

CREATE VIEW pg_catalog.svv_redshift_columns AS
SELECT
    current_database()::varchar(128) AS database_name,
    t.schema_name::varchar(128) AS schema_name,
    t.table_name::varchar(128) AS table_name,
    a.attname::varchar(128) AS column_name,
    a.attnum::int AS ordinal_position,
    CASE WHEN a.atttypid = 'text'::regtype THEN 'character varying(256)' ELSE format_type(a.atttypid, a.atttypmod) END::varchar(32) AS data_type,
    pg_get_expr(x.adbin, x.adrelid)::varchar(4000) AS column_default,
    CASE WHEN a.attnotnull THEN 'NO' ELSE 'YES' END::varchar(3) AS is_nullable,
    CASE WHEN f.sortkeys[1] = a.attname THEN 'none' ELSE coalesce(f.encoding, 'az64') END::varchar(128) AS encoding,
    coalesce(f.distkey = a.attname, false) AS distkey,
    coalesce(array_position(f.sortkeys, a.attname::text), 0)::int AS sortkey
FROM pg_catalog.standin_tables AS t
JOIN pg_attribute AS a ON a.attrelid = t.table_id AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef AS x ON x.adrelid = a.attrelid AND x.adnum = a.attnum
LEFT JOIN pg_catalog.standin_table_facts AS f ON f.table_id = t.table_id
WHERE t.kind IN ('r', 'p')
  AND has_schema_privilege(t.schema_name, 'USAGE') AND has_column_privilege(t.table_id, a.attnum, 'SELECT, INSERT, UPDATE');

-- Empty tables are absent. tbl_rows counts rows marked for deletion, estimated_visible_rows does not. A table that is
-- whole on each node is never skewed: NULL.
CREATE VIEW pg_catalog.svv_table_info AS
SELECT
    current_database()::text AS database,
    t.schema_name::text AS schema,
    t.table_id,
    t.table_name::text AS "table",
    coalesce(f.encoded, 'Y, AUTO(ENCODE)')::text AS encoded,
    coalesce(f.diststyle, 'AUTO(EVEN)')::text AS diststyle,
    coalesce(f.sortkeys[1], 'AUTO(SORTKEY)')::text AS sortkey1,
    (SELECT max(CASE WHEN a.atttypid = 'text'::regtype THEN 256 ELSE a.atttypmod - 4 END) FROM pg_attribute AS a
     WHERE a.attrelid = t.table_id AND a.attnum > 0 AND a.atttypid IN ('text'::regtype, 'varchar'::regtype))::int AS max_varchar,
    CASE WHEN f.sortkeys[1] IS NOT NULL THEN 'none' END::char(32) AS sortkey1_enc,
    coalesce(cardinality(f.sortkeys), 0)::int AS sortkey_num,
    s.size_mb::bigint AS size,
    least(s.size_mb / 100000.0, 100)::numeric(10, 4) AS pct_used,
    0::bigint AS empty,
    f.unsorted::numeric(5, 2) AS unsorted,
    coalesce(f.stats_off, 0)::numeric(5, 2) AS stats_off,
    (s.visible + coalesce(f.deleted_rows, 0))::numeric(38, 0) AS tbl_rows,
    f.skew_sortkey1::numeric(19, 2) AS skew_sortkey1,
    CASE WHEN f.diststyle LIKE '%ALL%' THEN NULL ELSE coalesce(f.skew_rows, 1) END::numeric(19, 2) AS skew_rows,
    s.visible::numeric(38, 0) AS estimated_visible_rows,
    f.risk_event::text AS risk_event,
    f.vacuum_sort_benefit::numeric(12, 2) AS vacuum_sort_benefit,
    coalesce(f.create_time, timestamp '2024-01-01') AS create_time
FROM pg_catalog.standin_tables AS t
LEFT JOIN pg_catalog.standin_table_facts AS f ON f.table_id = t.table_id
CROSS JOIN LATERAL (
    SELECT
        pg_catalog.standin_count(t.table_id::regclass) AS visible,
        coalesce(f.size_mb, ceil(pg_total_relation_size(t.table_id) / 1048576.0)::bigint) AS size_mb
) AS s
WHERE t.kind IN ('r', 'p') AND s.visible + coalesce(f.deleted_rows, 0) > 0;

-- Open transactions and their locks. SECURITY DEFINER: PostgreSQL hides when others' transactions began.
CREATE FUNCTION pg_catalog.standin_transactions()
RETURNS TABLE (txn_owner text, txn_db text, xid bigint, pid int, txn_start timestamp, lock_mode text,
               lockable_object_type text, relation int, granted boolean)
LANGUAGE sql VOLATILE SECURITY DEFINER AS $$
    SELECT a.usename::text, a.datname::text, coalesce(a.backend_xid, l.transactionid)::text::bigint, l.pid,
           a.xact_start AT TIME ZONE 'UTC', l.mode, l.locktype, l.relation::int, l.granted
    FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
    WHERE a.backend_type = 'client backend' AND a.xact_start IS NOT NULL AND a.datname = current_database()
$$;
CREATE VIEW pg_catalog.svv_transactions AS
SELECT * FROM pg_catalog.standin_transactions()
WHERE txn_owner = current_user OR pg_has_role('syslog_access_unrestricted', 'USAGE');

-- Users and what they may see; who is no superuser sees their own line.
CREATE VIEW pg_catalog.svv_user_info AS
SELECT
    r.rolname::text AS user_name,
    r.oid::int AS user_id,
    r.rolcreatedb AS createdb,
    r.rolsuper AS superuser,
    r.rolsuper AS catalog_update,
    'UNLIMITED'::text AS connection_limit,
    CASE WHEN pg_has_role(r.oid, 'syslog_access_unrestricted', 'USAGE') THEN 'UNRESTRICTED' ELSE 'RESTRICTED' END::text
        AS syslog_access,
    timestamp '2024-01-01' AS last_ddl_timestamp,
    0::int AS session_timeout,
    NULL::text AS external_user_id
FROM pg_roles AS r
WHERE r.rolcanlogin
  AND (r.rolname = current_user OR (SELECT o.rolsuper FROM pg_roles AS o WHERE o.rolname = current_user));

GRANT SELECT ON pg_catalog.svv_all_columns, pg_catalog.svv_redshift_columns, pg_catalog.svv_transactions,
    pg_catalog.svv_user_info TO PUBLIC;
