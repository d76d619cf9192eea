-- Keys that were last refused before their lane's last snapshot ended, and that nobody asked for since. Locks nothing.
SELECT q.pipeline, w.lane, w.snapshot_id, q.id, q.key
FROM public.qupersync_quarantine AS q
JOIN public.qupersync_pipeline AS p USING (group_name, pipeline)
JOIN public.qupersync_watermark AS w
    ON w.group_name = p.group_name AND w.pipeline = p.pipeline AND w.log = p.log AND w.lanes = p.lanes
        AND w.lane = mod(q.slot, p.lanes)
WHERE q.group_name = :group_name AND q.pipeline = ANY (CAST(:pipelines AS text[])) AND q.resolved_at IS NULL
  AND (q.log < w.log OR (q.log = w.log AND q.sequence <= w.snapshot_last))
  AND w.snapshot_last IS NOT NULL AND q.reread_for IS DISTINCT FROM w.snapshot_id
ORDER BY q.pipeline, w.lane, q.id
LIMIT :rows_max
