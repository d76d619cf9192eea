-- Dead letters of the shadow (group $2) that are known in the live table's name (group $1) too wait there again, unless a
-- person has given them up.
UPDATE public.qupersync_dead_letter AS live SET resolved_at = NULL, resolution = NULL
FROM public.qupersync_dead_letter AS shadow
WHERE live.group_name = $1 AND live.pipeline = $3 AND live.resolution IS DISTINCT FROM 'discarded'
  AND shadow.group_name = $2 AND shadow.pipeline = $3 AND shadow.resolved_at IS NULL AND shadow.event_id = live.event_id
