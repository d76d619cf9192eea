-- What the catalogue holds against a table changing names with another, as what it is (`kind`) and which one (`what`), by the
-- table's oid. Locks nothing.
WITH rel AS (SELECT c.*, n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = $1),
own_constraint AS (SELECT oid FROM pg_constraint WHERE conrelid = $1),
own_sequence AS (
    SELECT d.objid, d.deptype FROM pg_depend AS d JOIN pg_class AS c ON c.oid = d.objid AND c.relkind = 'S'
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1
      AND d.deptype IN ('a', 'i')
),
own AS (
    SELECT 'pg_class'::regclass AS class, $1::oid AS object
    UNION ALL SELECT 'pg_class'::regclass, reltoastrelid FROM rel WHERE reltoastrelid <> 0
    UNION ALL SELECT 'pg_class'::regclass, indexrelid FROM pg_index
              WHERE indrelid IN ($1, (SELECT reltoastrelid FROM rel))
    UNION ALL SELECT 'pg_class'::regclass, objid FROM own_sequence
    UNION ALL SELECT 'pg_type'::regclass, reltype FROM rel
    UNION ALL SELECT 'pg_type'::regclass, t.typarray FROM rel JOIN pg_type AS t ON t.oid = reltype
    UNION ALL SELECT 'pg_constraint'::regclass, oid FROM own_constraint
    UNION ALL SELECT 'pg_attrdef'::regclass, oid FROM pg_attrdef WHERE adrelid = $1
    UNION ALL SELECT 'pg_trigger'::regclass, t.oid FROM pg_trigger AS t
              WHERE t.tgrelid = $1 OR t.tgconstraint IN (SELECT oid FROM own_constraint)
    UNION ALL SELECT 'pg_policy'::regclass, oid FROM pg_policy WHERE polrelid = $1
    UNION ALL SELECT 'pg_statistic_ext'::regclass, oid FROM pg_statistic_ext WHERE stxrelid = $1
    UNION ALL SELECT 'pg_publication_rel'::regclass, oid FROM pg_publication_rel WHERE prrelid = $1
    UNION ALL SELECT 'pg_rewrite'::regclass, oid FROM pg_rewrite WHERE ev_class = $1
),
dependant AS (
    SELECT DISTINCT d.classid, d.objid, d.objsubid FROM pg_depend AS d
    JOIN own AS o ON d.refclassid = o.class AND d.refobjid = o.object
    WHERE NOT EXISTS (SELECT FROM own AS mine WHERE mine.class = d.classid AND mine.object = d.objid)
      -- A serial column's sequence goes over to the new table as it is.
      AND NOT EXISTS (SELECT FROM own_sequence AS s WHERE s.objid = o.object AND s.deptype = 'a')
),
rewriting AS (
    SELECT DISTINCT d.objid, r.rulename, c.oid, c.relkind, c.relowner, c.relnamespace
    FROM dependant AS d JOIN pg_rewrite AS r ON r.oid = d.objid JOIN pg_class AS c ON c.oid = r.ev_class
    WHERE d.classid = 'pg_rewrite'::regclass
)
SELECT 'kind' AS kind, '' AS what FROM rel WHERE relkind <> 'r' OR relispartition OR reloftype <> 0 OR relpersistence = 't'
UNION ALL
SELECT 'inheritance', i.inhrelid::regclass::text FROM pg_inherits AS i WHERE i.inhparent = $1
UNION ALL
SELECT 'inheritance', i.inhparent::regclass::text FROM pg_inherits AS i JOIN rel ON NOT relispartition WHERE i.inhrelid = $1
UNION ALL
SELECT 'owner', pg_get_userbyid(relowner) FROM rel WHERE NOT pg_has_role(relowner, 'USAGE')
UNION ALL
SELECT 'schema', nspname FROM rel WHERE NOT has_schema_privilege(relnamespace, 'CREATE')
UNION ALL
SELECT 'tablespace', t.spcname FROM rel JOIN pg_tablespace AS t ON t.oid = reltablespace
WHERE NOT has_tablespace_privilege(t.oid, 'CREATE')
UNION ALL
SELECT CASE WHEN c.conrelid = $1 THEN 'own reference' ELSE 'reference' END,
       CASE WHEN c.conrelid = $1 THEN quote_ident(c.conname)
            ELSE format('%s of %s', quote_ident(c.conname), c.conrelid::regclass) END
FROM pg_constraint AS c WHERE c.contype = 'f' AND c.confrelid = $1 AND c.conparentid = 0
UNION ALL
SELECT CASE
           WHEN relkind = 'm' THEN 'materialized view'
           WHEN relkind <> 'v' OR rulename <> '_RETURN' THEN 'dependant'
           ELSE 'view'
       END,
       CASE WHEN relkind = 'm' OR rulename = '_RETURN' THEN oid::regclass::text
            ELSE pg_describe_object('pg_rewrite'::regclass, objid, 0) END
FROM rewriting
WHERE relkind <> 'v' OR rulename <> '_RETURN' OR NOT pg_has_role(relowner, 'USAGE')
   OR NOT has_schema_privilege(relnamespace, 'CREATE')
UNION ALL
SELECT 'rule', quote_ident(rulename) FROM pg_rewrite WHERE ev_class = $1
UNION ALL
SELECT 'dependant', pg_describe_object(d.classid, d.objid, d.objsubid) FROM dependant AS d
WHERE d.classid <> 'pg_rewrite'::regclass
  AND NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhparent = $1 AND i.inhrelid = d.objid)
  AND NOT EXISTS (SELECT FROM pg_constraint AS c WHERE c.oid = d.objid AND d.classid = 'pg_constraint'::regclass
                  AND c.contype = 'f' AND c.confrelid = $1)
  -- The triggers of a foreign key that refers to the table stand with that key.
  AND NOT EXISTS (SELECT FROM pg_trigger AS t WHERE t.oid = d.objid AND d.classid = 'pg_trigger'::regclass
                  AND t.tgisinternal)
UNION ALL
SELECT 'extension', pg_describe_object(d.classid, d.objid, 0)
FROM pg_depend AS d JOIN own AS o ON d.classid = o.class AND d.objid = o.object WHERE d.deptype IN ('e', 'x')
UNION ALL
SELECT DISTINCT 'label', pg_describe_object(l.classoid, l.objoid, 0)
FROM pg_seclabel AS l JOIN own AS o ON l.classoid = o.class AND l.objoid = o.object
UNION ALL
SELECT 'subscription', s.subname FROM pg_subscription_rel AS r JOIN pg_subscription AS s ON s.oid = r.srsubid
WHERE r.srrelid = $1
UNION ALL
SELECT 'whole publication', p.pubname FROM pg_publication AS p CROSS JOIN rel
WHERE relpersistence = 'p' AND (p.puballtables OR EXISTS (
    SELECT FROM pg_publication_tables AS t WHERE t.pubname = p.pubname AND t.schemaname = nspname AND t.tablename = relname
)) AND NOT EXISTS (SELECT FROM pg_publication_rel AS r WHERE r.prpubid = p.oid AND r.prrelid = $1)
UNION ALL
SELECT 'publication', p.pubname FROM pg_publication_rel AS r JOIN pg_publication AS p ON p.oid = r.prpubid
WHERE r.prrelid = $1 AND NOT pg_has_role(p.pubowner, 'USAGE')
UNION ALL
SELECT DISTINCT 'grant', pg_get_userbyid(a.grantor)
FROM rel CROSS JOIN LATERAL (
    SELECT grantor FROM aclexplode(relacl)
    UNION SELECT x.grantor FROM pg_attribute AS t, aclexplode(t.attacl) AS x WHERE t.attrelid = $1
) AS a
WHERE a.grantor <> relowner
UNION ALL
SELECT 'silent foreign key', quote_ident(c.conname) FROM pg_constraint AS c
WHERE c.conrelid = $1 AND c.contype = 'f'
  AND EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgconstraint = c.oid AND t.tgenabled <> 'O')
UNION ALL
SELECT 'hidden rows', '' WHERE row_security_active($1)
ORDER BY 1, 2
