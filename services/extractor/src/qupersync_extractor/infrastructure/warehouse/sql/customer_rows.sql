-- Customers as entities take them, whatever types the table's columns are of: money as text, so that no digit is lost.
-- What is asked for follows. Locks the file against writers.
SELECT
    customer_id::VARCHAR AS customer_id,
    industry::VARCHAR AS industry,
    plan_tier::VARCHAR AS plan_tier,
    signup_date::DATE AS signup_date,
    mrr::VARCHAR AS mrr,
    churn_date::DATE AS churn_date
FROM raw.customers
