-- How many rows of the quarantine there are behind one. Locks nothing.
SELECT count(*) FROM public.qupersync_quarantine
WHERE group_name = :group_name
  AND (cardinality(CAST(:pipelines AS text[])) = 0 OR pipeline = ANY (CAST(:pipelines AS text[])))
  AND (CAST(:resolved AS boolean) OR resolved_at IS NULL) AND id > :after
