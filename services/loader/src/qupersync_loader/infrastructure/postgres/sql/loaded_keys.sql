-- The keys that wait in the shadow's quarantine (group $2) and not in the live table's (group $1). Locks nothing.
SELECT shadow.key FROM public.qupersync_quarantine AS shadow
WHERE shadow.group_name = $2 AND shadow.pipeline = $3 AND shadow.resolved_at IS NULL
  AND NOT EXISTS (
      SELECT FROM public.qupersync_quarantine AS live
      WHERE live.group_name = $1 AND live.pipeline = $3 AND live.resolved_at IS NULL
        AND md5(live.key) = md5(shadow.key) AND live.key = shadow.key
  )
