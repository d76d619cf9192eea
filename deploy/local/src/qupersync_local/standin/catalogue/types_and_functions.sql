-- Types, functions and settings of Redshift that PostgreSQL does not have. Locks nothing: runs once in a new database.
-- allow_system_table_mods is on in the stand-in's server, so all of it may live in pg_catalog and is always found.

CREATE ROLE syslog_access_unrestricted NOLOGIN;

-- SUPER holds JSON as it was written; it arrives at the driver as text with type 4000.
CREATE TYPE pg_catalog.super;
CREATE FUNCTION pg_catalog.super_in(cstring) RETURNS super LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'json_in';
CREATE FUNCTION pg_catalog.super_out(super) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'json_out';
CREATE TYPE pg_catalog.super (INPUT = pg_catalog.super_in, OUTPUT = pg_catalog.super_out, LIKE = json, CATEGORY = 'U');
CREATE CAST (text AS super) WITH INOUT;
CREATE CAST (varchar AS super) WITH INOUT;
CREATE CAST (json AS super) WITH INOUT AS ASSIGNMENT;
CREATE CAST (jsonb AS super) WITH INOUT AS ASSIGNMENT;
CREATE CAST (super AS jsonb) WITH INOUT;
CREATE FUNCTION pg_catalog.json_parse(text) RETURNS super LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $1::super';
CREATE FUNCTION pg_catalog.standin_json_serialize(super) RETURNS varchar LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $1::text::varchar';

-- VARBYTE is kept as its hexadecimal digits, which is how it arrives at the driver, with type 6551.
CREATE TYPE pg_catalog.varbyte;
CREATE FUNCTION pg_catalog.varbyte_in(cstring) RETURNS varbyte LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'textin';
CREATE FUNCTION pg_catalog.varbyte_out(varbyte) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'textout';
CREATE FUNCTION pg_catalog.varbyte_modifier_in(cstring[]) RETURNS int LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'varchartypmodin';
CREATE FUNCTION pg_catalog.varbyte_modifier_out(int) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'varchartypmodout';
CREATE TYPE pg_catalog.varbyte (
    INPUT = pg_catalog.varbyte_in, OUTPUT = pg_catalog.varbyte_out, LIKE = text, CATEGORY = 'U',
    TYPMOD_IN = pg_catalog.varbyte_modifier_in, TYPMOD_OUT = pg_catalog.varbyte_modifier_out
);
CREATE FUNCTION pg_catalog.to_varbyte(bytea) RETURNS varbyte LANGUAGE sql IMMUTABLE STRICT
    AS $$ SELECT pg_catalog.varbyte_in(pg_catalog.textout(pg_catalog.encode($1, 'hex'))) $$;
CREATE FUNCTION pg_catalog.to_varbyte(text, text) RETURNS varbyte LANGUAGE sql IMMUTABLE STRICT
    AS $$ SELECT pg_catalog.to_varbyte(CASE WHEN lower($2) = 'hex' THEN decode($1, 'hex') ELSE convert_to($1, 'UTF8') END) $$;
CREATE FUNCTION pg_catalog.from_varbyte(varbyte, text) RETURNS varchar LANGUAGE sql IMMUTABLE STRICT
    AS $$ SELECT CASE WHEN lower($2) = 'hex' THEN textin(varbyte_out($1)) ELSE convert_from(decode(textin(varbyte_out($1)), 'hex'), 'UTF8') END::varchar $$;
CREATE CAST (bytea AS varbyte) WITH FUNCTION pg_catalog.to_varbyte(bytea) AS ASSIGNMENT;

-- GEOMETRY and GEOGRAPHY are kept as the hexadecimal digits of their EWKB, which is how the first arrives; the second
-- arrives in binary.
CREATE TYPE pg_catalog.geometry;
CREATE FUNCTION pg_catalog.geometry_in(cstring) RETURNS geometry LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'textin';
CREATE FUNCTION pg_catalog.geometry_out(geometry) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'textout';
CREATE TYPE pg_catalog.geometry (INPUT = pg_catalog.geometry_in, OUTPUT = pg_catalog.geometry_out, LIKE = text, CATEGORY = 'U');
CREATE CAST (text AS geometry) WITH INOUT;
CREATE TYPE pg_catalog.geography;
CREATE FUNCTION pg_catalog.geography_in(cstring) RETURNS geography LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'textin';
CREATE FUNCTION pg_catalog.geography_out(geography) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'textout';
CREATE TYPE pg_catalog.geography (INPUT = pg_catalog.geography_in, OUTPUT = pg_catalog.geography_out, LIKE = text, CATEGORY = 'U');
CREATE FUNCTION pg_catalog.geography_send(geography) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT
    AS $$ SELECT decode(textin(geography_out($1)), 'hex') $$;
ALTER TYPE pg_catalog.geography SET (SEND = pg_catalog.geography_send);
CREATE CAST (text AS geography) WITH INOUT;

-- GETDATE is the statement's start in whole seconds, SYSDATE the transaction's, both in the session's time zone.
CREATE FUNCTION pg_catalog.getdate() RETURNS timestamp LANGUAGE sql STABLE
    AS $$ SELECT date_trunc('second', statement_timestamp()::timestamp) $$;
CREATE FUNCTION pg_catalog.sysdate() RETURNS timestamp LANGUAGE sql STABLE
    AS $$ SELECT transaction_timestamp()::timestamp $$;

CREATE FUNCTION pg_catalog.len(text) RETURNS int LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'textlen';
CREATE FUNCTION pg_catalog.len(bpchar) RETURNS int LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE AS 'bpcharlen';

-- Date parts have many names; these are the ones that are told apart below.
CREATE FUNCTION pg_catalog.standin_date_part(part text) RETURNS text LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT CASE
        WHEN lower(part) IN ('millennium', 'mil') THEN 'millennium'
        WHEN lower(part) IN ('century', 'c', 'cent') THEN 'century'
        WHEN lower(part) IN ('decade', 'dec', 'decs') THEN 'decade'
        WHEN lower(part) IN ('year', 'years', 'y', 'yr', 'yrs') THEN 'year'
        WHEN lower(part) IN ('quarter', 'quarters', 'qtr', 'qtrs') THEN 'quarter'
        WHEN lower(part) IN ('month', 'months', 'mon', 'mons') THEN 'month'
        WHEN lower(part) IN ('week', 'weeks', 'w') THEN 'week'
        WHEN lower(part) IN ('day', 'days', 'd') THEN 'day'
        WHEN lower(part) IN ('hour', 'hours', 'h', 'hr', 'hrs') THEN 'hour'
        WHEN lower(part) IN ('minute', 'minutes', 'm', 'min', 'mins') THEN 'minute'
        WHEN lower(part) IN ('second', 'seconds', 's', 'sec', 'secs') THEN 'second'
        WHEN lower(part) IN ('millisecond', 'milliseconds', 'ms', 'msec', 'msecs', 'msecond', 'mseconds', 'millisec', 'millisecs', 'millisecon') THEN 'millisecond'
        WHEN lower(part) IN ('microsecond', 'microseconds', 'microsec', 'microsecs', 'usec', 'usecs', 'us', 'usecond', 'useconds') THEN 'microsecond'
    END
$$;
CREATE FUNCTION pg_catalog.standin_interval(part text, many bigint) RETURNS interval LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    known text := pg_catalog.standin_date_part(part);
BEGIN
    IF known IS NULL THEN
        RAISE EXCEPTION 'unit "%" not recognized', part USING ERRCODE = '22023';
    END IF;
    RETURN many * CASE known WHEN 'quarter' THEN interval '3 months' ELSE ('1 ' || known)::interval END;
END
$$;
CREATE FUNCTION pg_catalog.dateadd(text, bigint, timestamp) RETURNS timestamp LANGUAGE sql IMMUTABLE STRICT
    AS $$ SELECT $3 + pg_catalog.standin_interval($1, $2) $$;
CREATE FUNCTION pg_catalog.dateadd(text, bigint, timestamptz) RETURNS timestamptz LANGUAGE sql STABLE STRICT
    AS $$ SELECT $3 + pg_catalog.standin_interval($1, $2) $$;
CREATE FUNCTION pg_catalog.dateadd(text, bigint, date) RETURNS timestamp LANGUAGE sql IMMUTABLE STRICT
    AS $$ SELECT $3::timestamp + pg_catalog.standin_interval($1, $2) $$;
-- DATEDIFF counts the boundaries between two times; weeks begin on Sunday.
CREATE FUNCTION pg_catalog.datediff(part text, one timestamp, other timestamp) RETURNS bigint LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    known text := pg_catalog.standin_date_part(part);
    months bigint := (extract(year FROM other) - extract(year FROM one)) * 12 + extract(month FROM other) - extract(month FROM one);
    years bigint := extract(year FROM other) - extract(year FROM one);
BEGIN
    RETURN CASE known
        WHEN 'year' THEN years
        WHEN 'decade' THEN extract(decade FROM other) - extract(decade FROM one)
        WHEN 'century' THEN extract(century FROM other) - extract(century FROM one)
        WHEN 'millennium' THEN extract(millennium FROM other) - extract(millennium FROM one)
        WHEN 'quarter' THEN years * 4 + extract(quarter FROM other) - extract(quarter FROM one)
        WHEN 'month' THEN months
        WHEN 'week' THEN (date_trunc('week', other + interval '1 day')::date - date_trunc('week', one + interval '1 day')::date) / 7
        WHEN 'day' THEN other::date - one::date
        WHEN 'hour' THEN extract(epoch FROM date_trunc('hour', other) - date_trunc('hour', one)) / 3600
        WHEN 'minute' THEN extract(epoch FROM date_trunc('minute', other) - date_trunc('minute', one)) / 60
        WHEN 'second' THEN extract(epoch FROM date_trunc('second', other) - date_trunc('second', one))
        WHEN 'millisecond' THEN trunc(extract(epoch FROM other) * 1000) - trunc(extract(epoch FROM one) * 1000)
        WHEN 'microsecond' THEN (extract(epoch FROM other) - extract(epoch FROM one)) * 1000000
    END;
END
$$;
CREATE FUNCTION pg_catalog.datediff(text, timestamptz, timestamptz) RETURNS bigint LANGUAGE sql STABLE STRICT
    AS $$ SELECT pg_catalog.datediff($1, $2::timestamp, $3::timestamp) $$;
CREATE FUNCTION pg_catalog.datediff(text, date, date) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT
    AS $$ SELECT pg_catalog.datediff($1, $2::timestamp, $3::timestamp) $$;

CREATE FUNCTION pg_catalog.convert_timezone(text, timestamp) RETURNS timestamp LANGUAGE sql IMMUTABLE STRICT
    AS $$ SELECT ($2 AT TIME ZONE 'UTC') AT TIME ZONE $1 $$;
CREATE FUNCTION pg_catalog.convert_timezone(text, text, timestamp) RETURNS timestamp LANGUAGE sql IMMUTABLE STRICT
    AS $$ SELECT ($3 AT TIME ZONE $1) AT TIME ZONE $2 $$;
CREATE FUNCTION pg_catalog.trunc(timestamp) RETURNS date LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT $1::date $$;

-- STRTOL reads a whole number of base 2 to 36, with a sign, into a BIGINT; base 16 is what digests ask for.
CREATE FUNCTION pg_catalog.strtol(digits text, base int) RETURNS bigint LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    letters text := lower(ltrim(digits, '+-'));
    total numeric := 0;
    place int;
BEGIN
    IF base NOT BETWEEN 2 AND 36 THEN
        RAISE EXCEPTION 'base must be between 2 and 36' USING ERRCODE = '22023';
    END IF;
    IF base = 16 AND letters ~ '^[0-9a-f]{1,15}$' THEN
        RETURN ('x' || lpad(letters, 16, '0'))::bit(64)::bigint * CASE WHEN left(digits, 1) = '-' THEN -1 ELSE 1 END;
    END IF;
    FOR n IN 1 .. length(letters) LOOP
        place := strpos(left('0123456789abcdefghijklmnopqrstuvwxyz', base), substr(letters, n, 1));
        IF place = 0 THEN
            RAISE EXCEPTION 'the input % is not valid to be converted to base %', digits, base USING ERRCODE = '22023';
        END IF;
        total := total * base + place - 1;
    END LOOP;
    RETURN total * CASE WHEN left(digits, 1) = '-' THEN -1 ELSE 1 END;
END
$$;

CREATE FUNCTION pg_catalog.len(varbyte) RETURNS int LANGUAGE sql IMMUTABLE STRICT
    AS $$ SELECT length(textin(varbyte_out($1))) / 2 $$;
CREATE FUNCTION pg_catalog.substring(varbyte, int, int) RETURNS varbyte LANGUAGE sql IMMUTABLE STRICT
    AS $$ SELECT pg_catalog.varbyte_in(pg_catalog.textout(substr(textin(varbyte_out($1)), 2 * $2 - 1, 2 * $3))) $$;
