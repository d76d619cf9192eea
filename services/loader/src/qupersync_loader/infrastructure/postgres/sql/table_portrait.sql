-- All that makes up a table beside its rows, as kind, name and definition, by its oid; nothing in it is an oid or the
-- table's own name, but for triggers. The search path must be empty. Locks nothing.
WITH rel AS (SELECT c.*, n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = $1),
own_index AS (
    SELECT i.*, c.relname, c.reloptions, c.reltablespace, c.oid AS index_oid,
           (SELECT k.oid FROM pg_constraint AS k WHERE k.conindid = c.oid AND k.conrelid = $1 AND k.contype IN ('p', 'u', 'x')) AS constraint_oid,
           (SELECT coalesce(jsonb_object_agg(a.attnum, a.attstattarget), '{}') FROM pg_attribute AS a
            WHERE a.attrelid = c.oid AND a.attstattarget >= 0) AS targets,
           (SELECT t.spcname FROM pg_tablespace AS t WHERE t.oid = c.reltablespace) AS tablespace
    FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
    WHERE i.indrelid = $1 AND i.indisvalid
),
acl AS (
    SELECT NULL::name AS attname, a.* FROM rel, aclexplode(coalesce(relacl, acldefault('r', relowner))) AS a
    UNION ALL
    SELECT t.attname, a.* FROM pg_attribute AS t, aclexplode(t.attacl) AS a
    WHERE t.attrelid = $1 AND t.attnum > 0 AND NOT t.attisdropped
),
named AS (  -- what a comment may be on
    SELECT 'TABLE' AS kind, '' AS name, 'pg_class'::regclass AS classoid, $1::oid AS objoid, 0 AS objsubid
    UNION ALL
    SELECT 'COLUMN', attname, 'pg_class'::regclass, $1, attnum FROM pg_attribute
    WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT 'INDEX', relname, 'pg_class'::regclass, index_oid, 0 FROM own_index
    UNION ALL
    SELECT 'CONSTRAINT', conname, 'pg_constraint'::regclass, oid, 0 FROM pg_constraint WHERE conrelid = $1
    UNION ALL
    SELECT 'TRIGGER', tgname, 'pg_trigger'::regclass, oid, 0 FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal
    UNION ALL
    SELECT 'POLICY', polname, 'pg_policy'::regclass, oid, 0 FROM pg_policy WHERE polrelid = $1
    UNION ALL
    SELECT 'STATISTICS', concat('"', replace((SELECT nspname FROM pg_namespace WHERE oid = stxnamespace), '"', '""'), '"."', replace(stxname, '"', '""'), '"'), 'pg_statistic_ext'::regclass, oid, 0
    FROM pg_statistic_ext WHERE stxrelid = $1
)
SELECT 'table' AS kind, '' AS name, jsonb_build_object(
    'owner', pg_get_userbyid(relowner), 'persistence', relpersistence,
    'method', (SELECT amname FROM pg_am WHERE oid = relam),
    'tablespace', (SELECT spcname FROM pg_tablespace WHERE oid = reltablespace)
)::text AS definition FROM rel
UNION ALL
SELECT 'options', '', jsonb_build_object(
    'own', coalesce(reloptions, '{}'),
    'toast', coalesce((SELECT t.reloptions FROM pg_class AS t WHERE t.oid = rel.reltoastrelid), '{}')
)::text FROM rel
UNION ALL
SELECT 'row security', '', jsonb_build_object('enabled', relrowsecurity, 'forced', relforcerowsecurity)::text FROM rel
UNION ALL
SELECT 'replica identity', '', jsonb_build_object(
    'mode', relreplident, 'index', (SELECT relname FROM own_index WHERE indisreplident)
)::text FROM rel
UNION ALL
SELECT 'cluster', '', jsonb_build_object('index', relname)::text FROM own_index WHERE indisclustered
UNION ALL
SELECT 'column', a.attname, jsonb_build_object(
    'place', row_number() OVER (ORDER BY a.attnum), 'type', format_type(a.atttypid, a.atttypmod),
    'collation', CASE WHEN a.attcollation <> 0 THEN a.attcollation::regcollation::text END,
    'not_null', a.attnotnull, 'default', pg_get_expr(d.adbin, d.adrelid), 'identity', a.attidentity,
    'generated', a.attgenerated, 'storage', a.attstorage, 'compression', a.attcompression,
    'statistics', nullif(a.attstattarget, -1), 'options', coalesce(a.attoptions, '{}')
)::text
FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 'constraint', c.conname, jsonb_build_object(
    'type', c.contype, 'text', pg_get_constraintdef(c.oid), 'validated', c.convalidated,
    'tablespace', i.tablespace, 'targets', i.targets, 'options', coalesce(i.reloptions, '{}'),
    -- The states of a foreign key's own triggers on this side.
    'firing', (SELECT string_agg(DISTINCT t.tgenabled::text, '') FROM pg_trigger AS t
               WHERE t.tgconstraint = c.oid AND t.tgrelid = $1)
)::text
FROM pg_constraint AS c LEFT JOIN own_index AS i ON i.constraint_oid = c.oid
WHERE c.conrelid = $1 AND c.contype IN ('c', 'n', 'p', 'u', 'x', 'f')
UNION ALL
SELECT 'index', i.relname, jsonb_build_object(
    'text', substr(pg_get_indexdef(i.index_oid), 1 + length(format(
        'CREATE %sINDEX %I ON %I.%I ', CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END, i.relname, rel.nspname,
        rel.relname))),
    'unique', i.indisunique, 'tablespace', i.tablespace, 'targets', i.targets
)::text
FROM own_index AS i CROSS JOIN rel WHERE i.constraint_oid IS NULL
UNION ALL
SELECT 'statistics', concat('"', replace((SELECT nspname FROM pg_namespace WHERE oid = stxnamespace), '"', '""'), '"."', replace(stxname, '"', '""'), '"'), jsonb_build_object(
    'schema', (SELECT nspname FROM pg_namespace WHERE oid = stxnamespace), 'name', stxname,
    'columns', pg_get_statisticsobjdef_columns(oid), 'kinds', array_to_string(stxkind, ''),
    'target', nullif(stxstattarget, -1), 'owner', pg_get_userbyid(stxowner)
)::text
FROM pg_statistic_ext WHERE stxrelid = $1
UNION ALL
SELECT 'trigger', tgname, jsonb_build_object('text', pg_get_triggerdef(oid), 'enabled', tgenabled)::text
FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal
UNION ALL
SELECT 'policy', polname, jsonb_build_object(
    'permissive', polpermissive, 'command', polcmd, 'using', pg_get_expr(polqual, polrelid),
    'check', pg_get_expr(polwithcheck, polrelid),
    'roles', (SELECT array_agg(CASE WHEN r = 0 THEN 'public' ELSE quote_ident(pg_get_userbyid(r)) END ORDER BY r)
              FROM unnest(polroles) AS r)
)::text
FROM pg_policy WHERE polrelid = $1
UNION ALL
SELECT 'grant', concat_ws(' ', attname, privilege_type, 'by', grantor, 'to', grantee), jsonb_build_object(
    'column', attname, 'privilege', privilege_type, 'grantable', is_grantable, 'grantor', pg_get_userbyid(grantor),
    'grantee', CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
)::text
FROM acl
UNION ALL
SELECT 'comment', n.kind || ' ' || n.name, jsonb_build_object('on', n.kind, 'name', n.name, 'text', d.description)::text
FROM named AS n JOIN pg_description AS d USING (classoid, objoid, objsubid)
UNION ALL
SELECT 'publication', p.pubname, jsonb_build_object(
    'rows', (SELECT to_jsonb(t) ->> 'rowfilter' FROM pg_publication_tables AS t
             WHERE t.pubname = p.pubname AND t.schemaname = rel.nspname AND t.tablename = rel.relname),
    -- The catalogue has column lists and row filters since PostgreSQL 15.
    'columns', (SELECT jsonb_agg(a.attname ORDER BY a.attnum) FROM pg_attribute AS a
                WHERE a.attrelid = $1 AND to_jsonb(pr) -> 'prattrs' @> to_jsonb(a.attnum))
)::text
FROM pg_publication_rel AS pr JOIN pg_publication AS p ON p.oid = pr.prpubid CROSS JOIN rel WHERE pr.prrelid = $1
UNION ALL
SELECT 'sequence', a.attname, jsonb_build_object(
    'schema', n.nspname, 'name', c.relname, 'identity', d.deptype = 'i', 'type', format_type(s.seqtypid, NULL),
    'start', s.seqstart, 'increment', s.seqincrement, 'max', s.seqmax, 'min', s.seqmin, 'cache', s.seqcache,
    'cycle', s.seqcycle, 'persistence', c.relpersistence, 'owner', pg_get_userbyid(c.relowner),
    'comment', obj_description(c.oid, 'pg_class'),
    'grants', (
        SELECT jsonb_agg(jsonb_build_object(
            'privilege', privilege_type, 'grantable', is_grantable, 'grantor', pg_get_userbyid(grantor),
            'grantee', CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
        ) ORDER BY grantee, privilege_type, grantor)
        FROM aclexplode(coalesce(c.relacl, acldefault('s', c.relowner)))
    )
)::text
FROM pg_depend AS d
JOIN pg_class AS c ON c.oid = d.objid AND c.relkind = 'S'
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_sequence AS s ON s.seqrelid = c.oid
JOIN pg_attribute AS a ON a.attrelid = $1 AND a.attnum = d.refobjsubid
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1
  AND d.deptype IN ('a', 'i')
UNION ALL
SELECT 'view', v.name, jsonb_build_object(
    'text', pg_get_viewdef(v.oid), 'options', coalesce(v.reloptions, '{}'), 'owner', pg_get_userbyid(v.relowner)
)::text
FROM (
    SELECT DISTINCT concat('"', replace(n.nspname, '"', '""'), '"."', replace(c.relname, '"', '""'), '"') AS name, c.oid, c.reloptions,
                    c.relowner
    FROM pg_depend AS d
    JOIN pg_rewrite AS r ON r.oid = d.objid AND r.rulename = '_RETURN'
    JOIN pg_class AS c ON c.oid = r.ev_class AND c.relkind = 'v'
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1
) AS v
ORDER BY 1, 2
