-- Rows that the shadow (group $2) was refused, and that a person has given up in the live table's name (group $1) since.
DELETE FROM public.qupersync_quarantine AS shadow
WHERE shadow.group_name = $2 AND shadow.pipeline = $3 AND shadow.resolved_at IS NULL
  AND EXISTS (
      SELECT FROM public.qupersync_quarantine AS live
      WHERE live.group_name = $1 AND live.pipeline = $3 AND live.key = shadow.key AND live.resolution = 'discarded'
        AND (live.log, live.sequence) >= (shadow.log, shadow.sequence)
  )
