-- Whether a node has NVMe disks. Locks nothing.
SELECT
    CAST(host AS INTEGER) AS node_id,
    MAX(CASE WHEN mount LIKE '/dev/nvme%' THEN 1 ELSE 0 END) = 1 AS is_nvme
FROM pg_catalog.stv_partitions
GROUP BY host
