-- Ends the wait of rows without loading them. Locks them.
UPDATE public.qupersync_quarantine
SET resolved_at = clock_timestamp(), resolution = 'discarded', resolved_by = CAST(:by AS text)
WHERE group_name = :group_name AND id = ANY (CAST(:ids AS bigint[])) AND resolved_at IS NULL
RETURNING id
