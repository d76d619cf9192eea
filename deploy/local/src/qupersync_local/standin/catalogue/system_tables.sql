-- System views as plain tables, to be filled by tests and the demo. Locks nothing: runs once in a new database.
-- A role sees only its own rows of sys_query_history, sys_query_detail and sys_vacuum_history, unless it is a member of
-- syslog_access_unrestricted (Redshift: ALTER USER … SYSLOG ACCESS UNRESTRICTED).

CREATE TABLE pg_catalog.sys_query_history (
    user_id int, query_id bigint, query_label char(320), transaction_id bigint, session_id int, database_name char(128),
    query_type char(32), status char(10), result_cache_hit boolean, start_time timestamp, end_time timestamp,
    elapsed_time bigint, queue_time bigint, execution_time bigint, error_message char(512), returned_rows bigint,
    returned_bytes bigint, query_text char(4000), redshift_version char(256), usage_limit char(150),
    compute_type varchar(32), compile_time bigint, planning_time bigint, lock_wait_time bigint, service_class_id int,
    service_class_name char(64), query_priority char(20), short_query_accelerated char(10), user_query_hash char(40),
    generic_query_hash char(40), query_hash_version int, result_cache_query_id int, username char(128)
);
CREATE INDEX sys_query_history_end ON pg_catalog.sys_query_history (end_time, query_id);

CREATE TABLE pg_catalog.sys_query_text (
    user_id int, query_id bigint, transaction_id bigint, session_id int, start_time timestamp, sequence int, text char(200)
);

CREATE TABLE pg_catalog.sys_query_detail (
    user_id int, query_id bigint, child_query_sequence int, stream_id int, segment_id int, step_id int, step_name text,
    table_id int, table_name char(136), is_rrscan char(1), start_time timestamp, end_time timestamp, duration bigint,
    alert text, input_bytes bigint, output_bytes bigint, input_rows bigint, output_rows bigint, blocks_read bigint,
    blocks_write bigint, local_read_io bigint, remote_read_io bigint, source text, data_skewness int, time_skewness int,
    is_active char(1), spilled_block_local_disk bigint, spilled_block_remote_disk bigint, step_attribute char(64),
    metrics_level char(64), plan_parent_id int, plan_node_id int
);
CREATE INDEX sys_query_detail_query ON pg_catalog.sys_query_detail (query_id);

CREATE TABLE pg_catalog.sys_vacuum_history (
    user_id int, transaction_id bigint, query_id bigint, database_name char(128), schema_name char(128),
    table_name char(128), table_id int, vacuum_type char(32), is_automatic boolean, status char(16), start_time timestamp,
    end_time timestamp, record_time timestamp, duration int, rows_before_vacuum bigint, size_before_vacuum int,
    reclaimable_rows bigint, reclaimed_rows bigint, reclaimed_blocks bigint, sortedrows_before_vacuum int,
    sortedrows_after_vacuum int
);

CREATE TABLE pg_catalog.sys_connection_log (
    event char(50), record_time timestamp, remote_host char(45), remote_port char(32), session_id int,
    database_name char(50), user_name char(50), auth_method char(32), duration int, ssl_version char(50),
    ssl_cipher char(128), mtu int, ssl_compression char(64), ssl_expansion char(64), iam_auth_guid char(36),
    application_name char(250), os_version char(64), driver_version char(64), plugin_name char(32), protocol_version int,
    global_session_id char(36)
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['sys_query_history', 'sys_query_text', 'sys_query_detail', 'sys_vacuum_history'] LOOP
        EXECUTE format('ALTER TABLE pg_catalog.%I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY own_rows ON pg_catalog.%I FOR SELECT USING (pg_has_role(''syslog_access_unrestricted'', ''USAGE'') '
            'OR user_id::oid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user))', name
        );
        EXECUTE format('GRANT SELECT ON pg_catalog.%I TO PUBLIC', name);
    END LOOP;
END
$$;
