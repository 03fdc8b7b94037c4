-- One row per event, only ever added. The envelope comes first, then the words and numbers the questions ask for
-- (NULL where a kind has none), then the whole fact. A time-ordered log needs no index.
-- Schema version 1. What came later is in files of its own.

CREATE TABLE schema_version (version INTEGER NOT NULL);

CREATE TABLE events (
    stream_id   VARCHAR     NOT NULL,
    seq         BIGINT      NOT NULL,   -- with stream_id it names the event for ever
    happened_at TIMESTAMPTZ NOT NULL,
    monotonic   DOUBLE      NOT NULL,   -- seconds
    boot        DOUBLE      NOT NULL,   -- seconds
    session_id  VARCHAR     NOT NULL,
    user_id     VARCHAR     NOT NULL,
    device      VARCHAR     NOT NULL,
    source      VARCHAR     NOT NULL,   -- live, sim, import
    policy      VARCHAR     NOT NULL,
    app_version VARCHAR     NOT NULL,
    run_id      VARCHAR,
    scenario    VARCHAR,
    kind        VARCHAR     NOT NULL,

    state_from  VARCHAR,                -- the session's state before
    state       VARCHAR,                -- and after
    outcome     VARCHAR,
    reason      VARCHAR,
    error       VARCHAR,
    step        VARCHAR,
    served      VARCHAR,
    route       VARCHAR,
    call        VARCHAR,
    cause       VARCHAR,
    status      INTEGER,
    attempt     INTEGER,
    duration_ms DOUBLE,
    waited_ms   DOUBLE,
    health      DOUBLE,                 -- 0 to 100
    band        VARCHAR,

    fact        JSON        NOT NULL
);

-- The events of a half-open span of time that pass the filters; a filter that is NULL lets everything through.
CREATE MACRO chosen(start_us, end_us, filters) AS TABLE
SELECT *
FROM events
WHERE happened_at >= make_timestamptz(CAST(start_us AS BIGINT))
  AND happened_at < make_timestamptz(CAST(end_us AS BIGINT))
  AND (struct_extract(filters, 'source') IS NULL OR source = struct_extract(filters, 'source'))
  AND (struct_extract(filters, 'policy') IS NULL OR policy = struct_extract(filters, 'policy'))
  AND (struct_extract(filters, 'scenario') IS NULL OR scenario = struct_extract(filters, 'scenario'))
  AND (struct_extract(filters, 'run_id') IS NULL OR run_id = struct_extract(filters, 'run_id'))
  AND (struct_extract(filters, 'user_id') IS NULL OR user_id = struct_extract(filters, 'user_id'))
  AND (struct_extract(filters, 'session_id') IS NULL OR session_id = struct_extract(filters, 'session_id'))
  AND (struct_extract(filters, 'device') IS NULL OR device = struct_extract(filters, 'device'))
  AND (struct_extract(filters, 'app_version') IS NULL OR app_version = struct_extract(filters, 'app_version'));

-- The start of the bucket a moment falls into; buckets are aligned to midnight UTC.
CREATE MACRO bucket_of(moment, width_s) AS
make_timestamptz(epoch_us(moment) // (CAST(width_s AS BIGINT) * 1000000) * (CAST(width_s AS BIGINT) * 1000000));
