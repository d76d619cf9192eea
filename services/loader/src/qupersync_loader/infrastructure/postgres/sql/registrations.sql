-- What is known of a pipeline in two loader groups. Locks nothing.
SELECT group_name, target_schema, target_table, log, lanes FROM public.qupersync_pipeline
WHERE pipeline = $3 AND group_name IN ($1, $2)
