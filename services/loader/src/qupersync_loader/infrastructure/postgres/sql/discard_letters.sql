-- Ends the wait of dead letters without what they said. Locks them.
UPDATE public.qupersync_dead_letter
SET resolved_at = clock_timestamp(), resolution = 'discarded', resolved_by = CAST(:by AS text)
WHERE group_name = :group_name AND id = ANY (CAST(:ids AS bigint[])) AND resolved_at IS NULL
RETURNING id
