-- Dead letters of an older log with another number of lanes, once every lane of the pipeline's log has had a snapshot and
-- lacks none of its pages. Sources that forget (left out of the pipelines given) do not say it again. Locks those rows.
UPDATE public.qupersync_dead_letter AS d SET resolved_at = clock_timestamp(), resolution = 'snapshot'
FROM public.qupersync_pipeline AS p
WHERE d.group_name = :group_name AND p.group_name = d.group_name AND p.pipeline = d.pipeline
  AND p.pipeline = ANY (CAST(:pipelines AS text[]))
  AND d.resolved_at IS NULL AND d.log < p.log AND d.lanes <> p.lanes
  AND p.lanes = (
      SELECT count(*) FROM public.qupersync_watermark AS w
      WHERE w.group_name = p.group_name AND w.pipeline = p.pipeline AND w.log = p.log AND w.snapshot_last IS NOT NULL
        AND NOT EXISTS (
            SELECT FROM public.qupersync_dead_letter AS own
            WHERE own.group_name = w.group_name AND own.pipeline = w.pipeline AND own.lane = w.lane
              AND own.snapshot_id = w.snapshot_id AND (own.resolved_at IS NULL OR own.resolution = 'discarded')
        )
  )
