-- {table}: a table as of a cloud bill, without keys, as Redshift enforces none. Locks nothing: the table is new.
CREATE TABLE {table} (
    id bigint NOT NULL,
    account_id varchar(12),
    service varchar(64),
    region varchar(32),
    usage_type varchar(128),
    effective_cost numeric(18, 6),
    list_cost numeric(18, 6),
    usage_quantity double precision,
    currency char(3),
    usage_date date,
    tags super,
    is_estimated boolean,
    updated_at timestamp
);
