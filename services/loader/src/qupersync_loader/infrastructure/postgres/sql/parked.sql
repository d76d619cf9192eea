-- What waits for a person, per lane of the pipelines of a group; a lane that its log no longer has counts to another.
-- Locks nothing.
SELECT p.pipeline, counts.lane, sum(counts.quarantined)::bigint AS quarantined,
       sum(counts.dead_letters)::bigint AS dead_letters
FROM public.qupersync_pipeline AS p
CROSS JOIN LATERAL (
    SELECT mod(q.slot, p.lanes) AS lane, count(*) AS quarantined, 0 AS dead_letters
    FROM public.qupersync_quarantine AS q
    WHERE q.group_name = p.group_name AND q.pipeline = p.pipeline AND q.resolved_at IS NULL
    GROUP BY 1
    UNION ALL
    SELECT mod(d.lane, p.lanes), 0, count(*)
    FROM public.qupersync_dead_letter AS d
    WHERE d.group_name = p.group_name AND d.pipeline = p.pipeline AND d.resolved_at IS NULL
    GROUP BY 1
) AS counts
WHERE p.group_name = :group_name
GROUP BY p.pipeline, counts.lane
