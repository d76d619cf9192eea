-- Dead letters of a lane that an event makes good; the lane is locked.
UPDATE public.qupersync_dead_letter SET resolved_at = clock_timestamp(), resolution = 'reread'
WHERE group_name = $1 AND pipeline = $2 AND lane = $3 AND lanes = $4 AND event_id = ANY ($5::uuid[])
  AND resolved_at IS NULL
