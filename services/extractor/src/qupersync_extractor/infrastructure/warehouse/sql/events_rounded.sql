-- How many rows of `staged` the table holds otherwise than they are: a column of its is narrower. Locks the file as any
-- writing does.
SELECT count(*)
FROM raw.usage_events AS kept
JOIN staged ON kept.event_id::VARCHAR = staged.event_id
WHERE kept."timestamp"::TIMESTAMP <> staged."timestamp"
    OR kept.feature_adoption_score::DOUBLE IS DISTINCT FROM staged.feature_adoption_score;
