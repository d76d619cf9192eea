-- What only the shadow (group $2) was refused waits in the live table's name (group $1) from now on.
UPDATE public.qupersync_quarantine SET group_name = $1
WHERE group_name = $2 AND pipeline = $3 AND resolved_at IS NULL
