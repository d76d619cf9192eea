-- A shadow is a pipeline of its own, whose table is there. Locks the row.
INSERT INTO public.qupersync_pipeline (group_name, pipeline, target_schema, target_table, made)
VALUES ($1, $2, $3, $4, true)
