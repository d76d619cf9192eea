-- The warehouse's two tables, unless they are there. The key of each is looked after by whoever saves, as in a warehouse
-- that enforces none. Locks the file as any writing does.
CREATE SCHEMA IF NOT EXISTS raw;
CREATE TABLE IF NOT EXISTS raw.customers (
    customer_id VARCHAR NOT NULL,
    industry VARCHAR,
    plan_tier VARCHAR NOT NULL,
    signup_date DATE NOT NULL,
    mrr DECIMAL(18, 4) NOT NULL,
    churn_date DATE
);
CREATE TABLE IF NOT EXISTS raw.usage_events (
    event_id VARCHAR NOT NULL,
    customer_id VARCHAR NOT NULL,
    "timestamp" TIMESTAMP NOT NULL,
    event_type VARCHAR NOT NULL,
    feature_adoption_score DOUBLE
);
