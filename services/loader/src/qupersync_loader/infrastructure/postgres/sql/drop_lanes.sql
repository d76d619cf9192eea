-- Lanes that a log with fewer of them no longer has; the pipeline's row was locked FOR UPDATE before.
DELETE FROM public.qupersync_watermark WHERE group_name = $1 AND pipeline = $2 AND lane >= $3
