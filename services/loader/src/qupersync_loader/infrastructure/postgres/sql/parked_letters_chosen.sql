-- Which dead letters of a pipeline wait, of those named or of one kind of reason, behind one, in the order of their ids. Locks nothing.
SELECT id
FROM public.qupersync_dead_letter
WHERE group_name = :group_name AND pipeline = :pipeline AND resolved_at IS NULL
  AND (cardinality(CAST(:ids AS bigint[])) = 0 OR id = ANY (CAST(:ids AS bigint[])))
  AND (CAST(:kind AS text) IS NULL
       OR regexp_replace(regexp_replace(regexp_replace(reason, :quoted, :quoted_mark, 'g'), :digest, :digest_mark, 'g'),
           :number, :number_mark, 'g') = :kind)
  AND id > :after
ORDER BY id
LIMIT :rows_max
