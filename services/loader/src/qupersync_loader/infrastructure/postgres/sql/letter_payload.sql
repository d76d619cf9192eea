-- The payload of a dead letter, as it came. Locks nothing.
SELECT payload FROM public.qupersync_dead_letter WHERE group_name = :group_name AND id = :id
