-- A rebuild begins. Locks its row.
INSERT INTO public.qupersync_rebuild (id, group_name, pipeline, shadow_schema, shadow_table, phase, claim, who)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
