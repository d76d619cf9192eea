-- Locks the pipeline's row FOR SHARE: the log stays what it is until the transaction ends.
SELECT log, lanes FROM public.qupersync_pipeline WHERE group_name = $1 AND pipeline = $2 FOR SHARE
