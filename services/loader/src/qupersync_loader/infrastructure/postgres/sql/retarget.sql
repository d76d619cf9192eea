-- Another target table from now on, in which nothing has been filled. Locks the row.
UPDATE public.qupersync_pipeline
SET target_schema = $3, target_table = $4, made = false, filled = '{}', updated_at = clock_timestamp()
WHERE group_name = $1 AND pipeline = $2
