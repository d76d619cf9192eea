-- Dead letters that wait in the live table's name (group $1) and not in the shadow's (group $3): the shadow has what they said.
UPDATE public.qupersync_dead_letter AS live SET resolved_at = clock_timestamp(), resolution = 'rebuilt'
WHERE live.group_name = $1 AND live.pipeline = $2 AND live.resolved_at IS NULL
  AND NOT EXISTS (
      SELECT FROM public.qupersync_dead_letter AS shadow
      WHERE shadow.group_name = $3 AND shadow.pipeline = $2 AND shadow.resolved_at IS NULL
        AND shadow.event_id = live.event_id
  )
