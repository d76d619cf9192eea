-- The pieces of whole query texts; blanks at the end of a piece are put back by who joins them. Locks nothing.
SELECT
    CAST(query_id AS BIGINT) AS query_id,
    CAST(sequence AS INTEGER) AS sequence,
    CAST(RTRIM(text) AS VARCHAR(200)) AS piece
FROM pg_catalog.sys_query_text
WHERE sequence IS NOT NULL
