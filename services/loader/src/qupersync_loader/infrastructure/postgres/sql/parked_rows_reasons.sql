-- How many rows of a pipeline's quarantine wait, by kinds of reasons, the most frequent first. Locks nothing.
SELECT regexp_replace(regexp_replace(regexp_replace(reason, :quoted, :quoted_mark, 'g'), :digest, :digest_mark, 'g'),
           :number, :number_mark, 'g') AS kind,
       min(reason) AS example, sum(entries)::bigint AS count, min(first_seen) AS first_seen, max(last_seen) AS last_seen,
       (sum(sum(entries)) OVER ())::bigint AS total
FROM (
    SELECT reason, count(*) AS entries, min(first_seen) AS first_seen, max(last_seen) AS last_seen
    FROM public.qupersync_quarantine
    WHERE group_name = :group_name AND pipeline = :pipeline AND resolved_at IS NULL
    GROUP BY reason
) AS reasons
GROUP BY 1
ORDER BY 3 DESC, 1
LIMIT :rows_max
