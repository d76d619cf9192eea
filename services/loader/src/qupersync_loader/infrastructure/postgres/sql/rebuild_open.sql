-- The rebuild of a pipeline that has not ended. Locks nothing.
SELECT id, phase, who FROM public.qupersync_rebuild WHERE group_name = $1 AND pipeline = $2 AND ended_at IS NULL
