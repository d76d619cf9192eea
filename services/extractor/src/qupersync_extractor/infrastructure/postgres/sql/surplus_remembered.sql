-- What a subject has beyond its share, longest unused first; the caller holds the subject's advisory lock. Locks the rows
-- it takes away and waits for none: it passes over those that somebody else is writing.
DELETE FROM qupersync.remembered AS r
USING (
    SELECT subject, key
    FROM qupersync.remembered
    WHERE subject = :subject
    ORDER BY used_at, key
    LIMIT greatest(0, (SELECT count(*) FROM qupersync.remembered WHERE subject = :subject) - :keys_max)
    FOR UPDATE SKIP LOCKED
) AS surplus
WHERE r.subject = surplus.subject AND r.key = surplus.key
