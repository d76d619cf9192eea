-- What the target must hold in the end, written by who made the world. Locks nothing: the tables are new.
CREATE TABLE table_stats (
    schema text, table_name text, table_id bigint, tbl_rows bigint, size_mb bigint, unsorted_pct numeric(5, 2),
    pct_skew_across_slices numeric(21, 2), diststyle text, sort_key1 text, sortkey_num integer, encoded text,
    pct_rows_marked_for_deletion numeric(5, 2), last_vacuum_date timestamp, vacuum_type text
);
CREATE TABLE query_history (
    query_id bigint, query_hash text, user_name text, application_name text, database_name text, status text,
    query_type text, execution_time_us bigint, queue_time_us bigint, compile_time_us bigint, rows_returned bigint,
    bytes_scanned bigint, spilled_blocks bigint, start_time timestamp, end_time timestamp, error_message text
);
CREATE TABLE vacuum_history (
    table_id bigint, table_name text, schema text, vacuum_type text, status text, start_time timestamp,
    end_time timestamp, reclaimable_rows bigint, impacted_blocks bigint, transaction_id bigint, is_automatic boolean,
    record_time timestamp
);
CREATE TABLE node_details (
    node_id integer, node_type text, slice_count integer, is_nvme boolean, capacity_mb bigint, used_mb bigint
);
