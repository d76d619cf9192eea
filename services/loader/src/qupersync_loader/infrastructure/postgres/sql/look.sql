-- Where a pipeline and one of its lanes stand; one row, or none when the pipeline is unknown. Locks nothing.
SELECT p.log AS pipeline_log, p.lanes AS pipeline_lanes, w.lanes, w.log, w.sequence, w.event_id, w.building,
       w.snapshot_whole, w.snapshot_id, w.snapshot_first, w.snapshot_last, w.honest_time,
       EXISTS (
           SELECT FROM public.qupersync_dead_letter AS d
           WHERE d.group_name = p.group_name AND d.pipeline = p.pipeline AND d.lane = :lane
             AND d.resolved_at IS NULL
       ) AS parked
FROM public.qupersync_pipeline AS p
LEFT JOIN public.qupersync_watermark AS w
    ON w.group_name = p.group_name AND w.pipeline = p.pipeline AND w.lane = :lane
WHERE p.group_name = :group_name AND p.pipeline = :pipeline
