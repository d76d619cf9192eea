-- Rows that wait in the live table's name (group $1) and not in the shadow's (group $3) stand in the shadow, or are gone at the
-- source.
UPDATE public.qupersync_quarantine AS live SET resolved_at = clock_timestamp(), resolution = 'rebuilt'
WHERE live.group_name = $1 AND live.pipeline = $2 AND live.resolved_at IS NULL
  AND NOT EXISTS (
      SELECT FROM public.qupersync_quarantine AS shadow
      WHERE shadow.group_name = $3 AND shadow.pipeline = $2 AND shadow.resolved_at IS NULL
        AND md5(shadow.key) = md5(live.key) AND shadow.key = live.key
  )
