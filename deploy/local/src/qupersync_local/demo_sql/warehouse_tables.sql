-- A small warehouse as an embedded one holds it: customers and what they used. Locks nothing: the file is new.
CREATE SCHEMA raw;
CREATE TABLE raw.customers (
    customer_id BIGINT NOT NULL,
    name VARCHAR,
    email VARCHAR,
    plan VARCHAR,
    country VARCHAR,
    credit_limit DECIMAL(12, 2),
    settings JSON,
    labels VARCHAR[],
    is_active BOOLEAN,
    signed_up DATE,
    updated_at TIMESTAMPTZ
);
CREATE TABLE raw.usage_events (
    event_id UUID NOT NULL,
    customer_id BIGINT,
    feature VARCHAR,
    quantity DOUBLE,
    unit_price DECIMAL(18, 6),
    region VARCHAR,
    properties JSON,
    billed BOOLEAN,
    occurred_at TIMESTAMP
);
