-- A shadow's registration, and its watermarks with it. Locks those rows.
DELETE FROM public.qupersync_pipeline WHERE group_name = $1 AND pipeline = $2
