-- Locks the rebuild that has not ended, if it is still this process's.
SELECT id FROM public.qupersync_rebuild
WHERE group_name = $1 AND pipeline = $2 AND ended_at IS NULL AND claim = $3
FOR UPDATE
