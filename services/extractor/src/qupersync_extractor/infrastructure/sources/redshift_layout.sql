-- The columns of a table with their declared types and places in the sort key. Of views nothing is found. Locks nothing.
SELECT
    CAST(column_name AS VARCHAR(128)),
    CAST(data_type AS VARCHAR(64)),
    CAST(sortkey AS INTEGER)
FROM svv_redshift_columns
WHERE database_name = current_database()
  AND schema_name = CAST(? AS VARCHAR(128))
  AND table_name = CAST(? AS VARCHAR(128))
ORDER BY ordinal_position
