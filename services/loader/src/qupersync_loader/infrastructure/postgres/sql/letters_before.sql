-- Dead letters of a lane from before a snapshot ($5) of a log ($6) that began at a sequence ($7) and is over, unless the
-- lane lacks one of its pages; the lane is locked.
UPDATE public.qupersync_dead_letter AS d SET resolved_at = clock_timestamp(), resolution = 'snapshot'
WHERE d.group_name = $1 AND d.pipeline = $2 AND d.lane = $3 AND d.lanes = $4 AND d.resolved_at IS NULL
  AND (d.log, d.sequence) < ($6, $7)
  AND NOT EXISTS (
      SELECT FROM public.qupersync_dead_letter AS own
      WHERE own.group_name = d.group_name AND own.pipeline = d.pipeline AND own.lane = d.lane
        AND own.snapshot_id = $5 AND (own.resolved_at IS NULL OR own.resolution = 'discarded')
  )
