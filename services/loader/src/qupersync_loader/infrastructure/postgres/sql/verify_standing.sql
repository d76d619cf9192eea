-- How far every lane of a pipeline of a loader group is. Locks nothing.
SELECT coalesce(p.log, 0) AS log, coalesce(min(w.sequence), 0) AS sequence,
       CASE WHEN count(w.honest_time) = p.lanes THEN min(w.honest_time) END AS honest_time
FROM public.qupersync_pipeline AS p
LEFT JOIN public.qupersync_watermark AS w
    ON w.group_name = p.group_name AND w.pipeline = p.pipeline AND w.log = p.log AND w.lane < p.lanes
WHERE p.group_name = $1 AND p.pipeline = $2
GROUP BY p.log, p.lanes
