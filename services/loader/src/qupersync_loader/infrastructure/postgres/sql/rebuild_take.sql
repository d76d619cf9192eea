-- Another process goes on with a rebuild. Locks its row.
UPDATE public.qupersync_rebuild SET claim = $2, who = $3, noted_at = clock_timestamp() WHERE id = $1 AND ended_at IS NULL
