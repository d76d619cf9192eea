-- The rebuilds of a group that have not ended, the last begun first, then so many of the last that have. Locks nothing.
(
    SELECT id, pipeline, shadow_schema, shadow_table, phase, rows, detail, who, started_at, noted_at, ended_at,
           clock_timestamp() AS now,
           (SELECT c.reltuples::bigint FROM pg_class AS c
            WHERE c.oid = to_regclass(format('%I.%I', shadow_schema, shadow_table))) AS estimated_rows
    FROM public.qupersync_rebuild
    WHERE group_name = :group_name AND ended_at IS NULL
    ORDER BY started_at DESC
    LIMIT :open_max
)
UNION ALL
(
    SELECT id, pipeline, shadow_schema, shadow_table, phase, rows, detail, who, started_at, noted_at, ended_at,
           clock_timestamp(), NULL
    FROM public.qupersync_rebuild
    WHERE group_name = :group_name AND ended_at IS NOT NULL
    ORDER BY ended_at DESC
    LIMIT :ended_max
)
