-- What only the shadow (group $2) has parked waits in the live table's name (group $1) from now on.
UPDATE public.qupersync_dead_letter AS shadow SET group_name = $1
WHERE shadow.group_name = $2 AND shadow.pipeline = $3 AND shadow.resolved_at IS NULL
  AND NOT EXISTS (
      SELECT FROM public.qupersync_dead_letter AS live WHERE live.group_name = $1 AND live.event_id = shadow.event_id
  )
