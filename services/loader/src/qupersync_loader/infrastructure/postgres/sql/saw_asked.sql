-- Keys that were asked for after a snapshot. Locks those rows.
UPDATE public.qupersync_quarantine SET reread_for = :snapshot_id WHERE id = ANY (CAST(:ids AS bigint[]))
