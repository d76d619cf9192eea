-- How many rows of `staged` the table holds otherwise than they are: its column for money is narrower. Locks the file as
-- any writing does.
SELECT count(*)
FROM raw.customers AS kept
JOIN staged ON kept.customer_id::VARCHAR = staged.customer_id
WHERE kept.mrr::DECIMAL(38, 4) <> staged.mrr;
