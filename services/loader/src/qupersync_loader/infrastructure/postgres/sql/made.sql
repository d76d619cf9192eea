-- The target table is there now. Locks the row, the first time only.
UPDATE public.qupersync_pipeline SET made = true, updated_at = clock_timestamp()
WHERE group_name = $1 AND pipeline = $2 AND NOT made
