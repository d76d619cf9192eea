-- {table}: queries that ended, as a warehouse keeps them. Locks nothing: the table is new.
CREATE TABLE {table} (
    query_id bigint NOT NULL,
    user_name varchar(128),
    database_name varchar(128),
    status varchar(10),
    query_type varchar(32),
    execution_time_us bigint,
    queue_time_us bigint,
    rows_returned bigint,
    bytes_scanned bigint,
    start_time timestamp,
    end_time timestamp,
    error_message varchar(512)
);
