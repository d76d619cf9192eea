-- A lane's next records, at most :limit of them and :bytes_max bytes, at least one. Locks nothing.
-- The sizes are read from the rows' own heads: payloads beyond the limit are not fetched.
SELECT id, pipeline, lane, log, sequence, occurred_at, event_type, event_version,
       correlation_id, causation_id, traceparent, headers, payload
FROM (
    SELECT next.*,
           sum(octet_length(payload) + pg_column_size(headers)) OVER (ORDER BY sequence) AS bytes,
           row_number() OVER (ORDER BY sequence) AS place
    FROM (
        SELECT *
        FROM qupersync.outbox
        WHERE pipeline = :pipeline AND lane = :lane AND log = :log AND sequence > :after
        ORDER BY sequence
        LIMIT :limit
    ) AS next
) AS measured
WHERE place = 1 OR bytes <= :bytes_max
ORDER BY sequence
