-- The rows of `staged`, of which no two have one id, take the place of those with their ids, or are added. Locks the file
-- as any writing does.
MERGE INTO raw.usage_events AS kept
USING staged ON kept.event_id::VARCHAR = staged.event_id
WHEN MATCHED THEN UPDATE SET
    customer_id = staged.customer_id,
    "timestamp" = staged."timestamp",
    event_type = staged.event_type,
    feature_adoption_score = staged.feature_adoption_score
WHEN NOT MATCHED THEN INSERT (event_id, customer_id, "timestamp", event_type, feature_adoption_score)
VALUES (
    staged.event_id, staged.customer_id, staged."timestamp", staged.event_type, staged.feature_adoption_score
);
