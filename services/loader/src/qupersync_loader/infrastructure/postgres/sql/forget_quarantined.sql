-- Forgets rows that were resolved long ago, some at a time. Locks those rows.
DELETE FROM public.qupersync_quarantine WHERE id IN (
    SELECT id FROM public.qupersync_quarantine
    WHERE group_name = :group_name AND resolved_at < clock_timestamp() - make_interval(days => :days)
    ORDER BY resolved_at LIMIT 10000
)
