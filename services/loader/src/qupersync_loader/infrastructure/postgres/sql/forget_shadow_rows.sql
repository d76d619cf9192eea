-- What a shadow has in quarantine. Locks those rows.
DELETE FROM public.qupersync_quarantine WHERE group_name = $1 AND pipeline = $2
