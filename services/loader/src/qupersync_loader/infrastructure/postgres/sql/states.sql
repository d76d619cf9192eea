-- Every pipeline of a group with its lanes; a pipeline whose lanes have not begun has one row without a lane.
SELECT p.pipeline, p.log AS pipeline_log, p.lanes AS pipeline_lanes, w.lane, w.lanes, w.log, w.sequence, w.event_id,
       w.building, w.snapshot_whole, w.honest_time, w.applied_at, w.altered
FROM public.qupersync_pipeline AS p
LEFT JOIN public.qupersync_watermark AS w USING (group_name, pipeline)
WHERE p.group_name = :group_name
ORDER BY p.pipeline, w.lane
