-- What exists on Serverless only, for superusers and whom they grant it. Locks nothing: runs once in a new database.

CREATE TABLE pg_catalog.sys_serverless_usage (
    start_time timestamp, end_time timestamp, compute_seconds double precision, compute_capacity double precision,
    data_storage int, cross_region_transferred_data int, charged_seconds int
);
