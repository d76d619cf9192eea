-- How many events customer $customer_id has within $days up to $as_of, or up to the newest event where that is NULL.
-- Locks the file against writers.
SELECT count(*)
FROM raw.usage_events
CROSS JOIN (SELECT coalesce($as_of::TIMESTAMP, max("timestamp")::TIMESTAMP) AS as_of FROM raw.usage_events) AS asked
WHERE customer_id::VARCHAR = $customer_id
    AND "timestamp"::TIMESTAMP <= as_of
    AND epoch_us(as_of) - epoch_us("timestamp"::TIMESTAMP) < $days::HUGEINT * 86_400_000_000;
