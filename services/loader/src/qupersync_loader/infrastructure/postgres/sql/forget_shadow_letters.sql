-- What a shadow has parked. Locks those rows.
DELETE FROM public.qupersync_dead_letter WHERE group_name = $1 AND pipeline = $2
