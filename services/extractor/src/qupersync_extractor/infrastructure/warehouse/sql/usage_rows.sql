-- Usage events as entities take them, moments in UTC without zone. What is asked for follows. Locks the file against
-- writers.
SELECT
    event_id::VARCHAR AS event_id,
    customer_id::VARCHAR AS customer_id,
    "timestamp"::TIMESTAMP AS "timestamp",
    event_type::VARCHAR AS event_type,
    feature_adoption_score::DOUBLE AS feature_adoption_score
FROM raw.usage_events
