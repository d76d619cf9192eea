-- Marks recalled facts as used, at most once a day. Locks the marked rows in key order.
WITH marked AS (
    SELECT subject, key
    FROM qupersync.remembered
    WHERE subject = :subject
        AND key = ANY(CAST(:keys AS text[]))
        AND used_at < clock_timestamp() - interval '24 hours'
    ORDER BY key
    FOR NO KEY UPDATE
)
UPDATE qupersync.remembered AS r
SET used_at = clock_timestamp()
FROM marked
WHERE r.subject = marked.subject AND r.key = marked.key
