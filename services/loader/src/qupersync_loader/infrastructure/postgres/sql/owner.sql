-- Who owns a target table. Locks nothing.
SELECT group_name, pipeline, made FROM public.qupersync_pipeline WHERE target_schema = $1 AND target_table = $2
