-- Compute nodes and their data slices. Locks nothing.
SELECT
    CAST(node AS INTEGER) AS node_id,
    CAST(COUNT(*) AS INTEGER) AS slice_count
FROM pg_catalog.stv_slices
WHERE type = 'D'
GROUP BY node
