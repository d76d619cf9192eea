-- How many lanes of a pipeline have yet to apply an event ($3 its log, $4 its sequence). Locks nothing.
SELECT p.lanes - count(w.lane)
FROM public.qupersync_pipeline AS p
LEFT JOIN public.qupersync_watermark AS w
    ON w.group_name = p.group_name AND w.pipeline = p.pipeline AND w.lane < p.lanes AND (w.log, w.sequence) >= ($3::bigint, $4::bigint)
WHERE p.group_name = $1 AND p.pipeline = $2
GROUP BY p.lanes
