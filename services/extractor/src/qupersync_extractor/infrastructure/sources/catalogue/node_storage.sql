-- Storage by node, in blocks of 1 MB. On RA3 capacity is the cluster's quota, in each row: never summed. Locks nothing.
SELECT
    CAST(node AS INTEGER) AS node_id,
    CAST(MAX(capacity) AS BIGINT) AS capacity_mb,
    CAST(MAX(used) AS BIGINT) AS used_mb
FROM pg_catalog.stv_node_storage_capacity
GROUP BY node
