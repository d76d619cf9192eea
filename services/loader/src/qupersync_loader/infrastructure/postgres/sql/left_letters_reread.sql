-- Dead letters ($7) of logs with another number of lanes, whose rows may now be on any lane: a page ($6) of a log ($5)
-- makes them good once all $4 lanes have applied it. This one ($3) has. A lane that has begun anew behind the page may
-- have missed it, and one that parked it did. The letters were locked before.
UPDATE public.qupersync_dead_letter SET resolved_at = clock_timestamp(), resolution = 'reread'
WHERE id = ANY ($7::bigint[])
  AND $4::integer = 1 + (
      SELECT count(*) FROM public.qupersync_watermark AS w
      WHERE w.group_name = $1 AND w.pipeline = $2 AND w.lane <> $3::integer AND w.lanes = $4::integer AND w.log = $5::bigint
        AND w.sequence >= $6::bigint AND coalesce(w.snapshot_first, 0) <= $6::bigint
  )
  AND NOT EXISTS (
      SELECT FROM public.qupersync_dead_letter AS own
      WHERE own.group_name = $1 AND own.pipeline = $2 AND own.log = $5::bigint AND own.sequence = $6::bigint
        AND (own.resolved_at IS NULL OR own.resolution = 'discarded')
  )
