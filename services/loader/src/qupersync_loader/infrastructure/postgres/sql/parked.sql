-- What waits for a person, per pipeline of a group. Locks nothing.
SELECT pipeline, sum(quarantined)::bigint AS quarantined, sum(dead_letters)::bigint AS dead_letters
FROM (
    SELECT pipeline, count(*) AS quarantined, 0 AS dead_letters
    FROM public.qupersync_quarantine WHERE group_name = :group_name AND resolved_at IS NULL GROUP BY pipeline
    UNION ALL
    SELECT pipeline, 0, count(*)
    FROM public.qupersync_dead_letter WHERE group_name = :group_name AND resolved_at IS NULL GROUP BY pipeline
) AS counts
GROUP BY pipeline
