-- The live lanes (group $1) say what is true of the shadow's rows (group $2), which have applied the same events. The honest
-- time stays the later of both where nothing is missing: the shadow's snapshot is whole, and its pages were read after all
-- that came before them. What is parked has been handed over before. The lanes are locked.
UPDATE public.qupersync_watermark AS live
SET building = shadow.building,
    snapshot_whole = shadow.snapshot_whole,
    snapshot_id = shadow.snapshot_id,
    snapshot_first = shadow.snapshot_first,
    snapshot_last = shadow.snapshot_last,
    honest_time = CASE
        WHEN NOT EXISTS (
            SELECT FROM public.qupersync_dead_letter AS d
            WHERE d.group_name = live.group_name AND d.pipeline = live.pipeline AND d.lane = live.lane
              AND d.log = live.log AND d.resolved_at IS NULL
        ) THEN greatest(live.honest_time, shadow.honest_time)
        WHEN live.honest_time IS NOT NULL AND shadow.honest_time IS NOT NULL
            THEN least(live.honest_time, shadow.honest_time)
    END,
    position = coalesce(shadow.position, live.position),
    applied_at = clock_timestamp()
FROM public.qupersync_watermark AS shadow
WHERE live.group_name = $1 AND live.pipeline = $3 AND shadow.group_name = $2 AND shadow.pipeline = $3
  AND shadow.lane = live.lane
