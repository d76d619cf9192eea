-- STL and STV views. Locks nothing: runs once in a new database.
-- They are there on every kind of cluster; on Serverless nobody may read them ("permission denied for relation"), not
-- even its superuser.

CREATE TABLE pg_catalog.stl_vacuum (
    userid int, xid bigint, table_id int, status char(30), rows bigint, sortedrows int, blocks int,
    max_merge_partitions int, eventtime timestamp, reclaimable_rows bigint, reclaimable_space_mb bigint,
    cutoff_xid bigint, is_recluster int
);
CREATE TABLE pg_catalog.stv_slices (node int, slice int, localslice int, type char(1));
CREATE TABLE pg_catalog.stv_node_storage_capacity (node int, used int, capacity int);
CREATE TABLE pg_catalog.stv_partitions (
    owner int, host int, diskno int, part_begin bigint, part_end bigint, used int, tossed int, capacity int, reads bigint,
    writes bigint, seek_forward int, seek_back int, is_san int, failed int, mbps int, mount char(256)
);
