-- Schema version 3: what was counted. Rows add up: a key may have several, and every question sums.
-- Events are folded into these tables some time after they came; until then the views at the end count them one by one,
-- so that an answer holds everything that is committed, folded or not. `flush` tells the two apart.

ALTER TABLE events ADD COLUMN flush BIGINT DEFAULT 0;

-- A session by a number: quicker to look for than its name, and what the events of a day that is over are sorted by.
CREATE MACRO key_of(session_id) AS CAST(md5_number_lower(session_id) & 4294967295 AS UINTEGER);
ALTER TABLE events ADD COLUMN session_key UINTEGER;
UPDATE events SET session_key = key_of(session_id);
CREATE TABLE sorted_days (day TIMESTAMPTZ NOT NULL);

CREATE TABLE folded (flush BIGINT NOT NULL);    -- the last flush that has been folded
INSERT INTO folded VALUES (-1);

-- What one event counts for.
CREATE MACRO marks(after_flush, upto_flush, width_s) AS TABLE
SELECT bucket_of(happened_at, width_s) AS bucket,
    session_id, user_id, device, source, policy, app_version, run_id, scenario,
    1::BIGINT AS events,
    (kind = 'RequestServed')::BIGINT AS requests,
    coalesce(kind = 'RequestServed' AND error IS NOT NULL AND served IN ('network', 'nothing'), false)::BIGINT AS visible_errors,
    (kind = 'TokenRefreshed')::BIGINT AS refreshes_ok,
    (kind = 'RefreshFailed')::BIGINT AS refreshes_failed,
    (kind = 'RetryScheduled')::BIGINT AS retries,
    coalesce(kind = 'FallbackTried' AND outcome IN ('ok', 'failed', 'later'), false)::BIGINT AS fallbacks,
    coalesce(kind = 'SessionEnded' AND reason <> 'stopped', false)::BIGINT AS sign_outs,
    (kind = 'StuckFound')::BIGINT AS stuck,
    happened_at AS first_at,
    happened_at AS last_at,
    -- The last state, start or end, and band: each with its place in time, in which a tie is settled by the number.
    state,
    CASE WHEN state IS NOT NULL THEN epoch_us(happened_at) * 1024 + seq % 1024 END AS state_at,
    CASE WHEN kind IN ('SessionStarted', 'SessionEnded') THEN kind END AS edge,
    CASE WHEN kind IN ('SessionStarted', 'SessionEnded') THEN epoch_us(happened_at) * 1024 + seq % 1024 END AS edge_at,
    CASE kind WHEN 'SessionEnded' THEN reason WHEN 'SessionStarted' THEN '' END AS end_reason,
    band,
    health,
    CASE WHEN band IS NOT NULL THEN epoch_us(happened_at) * 1024 + seq % 1024 END AS band_at
FROM events
WHERE flush > after_flush AND flush <= upto_flush;

CREATE TABLE sessions_minutes AS FROM marks(0, 0, 60) LIMIT 0;
CREATE TABLE sessions_hours AS FROM marks(0, 0, 3600) LIMIT 0;

-- How often each thing happened, by the words that tell it from others; not by session, of which there are too many.
CREATE MACRO words(after_flush, upto_flush, width_s) AS TABLE
SELECT bucket_of(happened_at, width_s) AS bucket,
    session_id, user_id, device, source, policy, app_version, run_id, scenario,
    kind, outcome, reason, error, step, served, route, call, cause, status, band,
    1::BIGINT AS n
FROM events
WHERE flush > after_flush AND flush <= upto_flush;

CREATE TABLE counts_minutes AS SELECT * EXCLUDE (session_id, user_id) FROM words(0, 0, 60) LIMIT 0;
CREATE TABLE counts_hours AS SELECT * EXCLUDE (session_id, user_id) FROM words(0, 0, 3600) LIMIT 0;

-- Values in bins 2^(1/32) wide, those of histograms.py.
CREATE MACRO bin_of(amount) AS
CASE WHEN amount < 0.0009765625 THEN -321 ELSE CAST(round(32 * log2(amount)) AS INTEGER) END;

CREATE MACRO measures(after_flush, upto_flush, width_s) AS TABLE
SELECT bucket_of(happened_at, width_s) AS bucket,
    session_id, user_id, device, source, policy, app_version, run_id, scenario, route,
    unnest(CASE kind
        WHEN 'RequestServed' THEN [
            {'measure': 'request_ms', 'bin': bin_of(duration_ms)}, {'measure': 'waited_ms', 'bin': bin_of(waited_ms)}]
        WHEN 'TokenRefreshed' THEN [
            {'measure': 'refresh_ms', 'bin': bin_of(duration_ms)},
            {'measure': 'left_s', 'bin': bin_of(CAST(fact -> 'left_s' AS DOUBLE))},
            {'measure': 'attempts', 'bin': bin_of(attempt)}]
        WHEN 'CacheServed' THEN [{'measure': 'age_s', 'bin': bin_of(CAST(fact -> 'age_s' AS DOUBLE))}]
        WHEN 'FallbackTried' THEN [{'measure': 'fallback_ms', 'bin': bin_of(duration_ms)}]
        END, recursive := true),
    1::BIGINT AS n
FROM events
WHERE flush > after_flush AND flush <= upto_flush
    AND kind IN ('RequestServed', 'TokenRefreshed', 'CacheServed', 'FallbackTried');

CREATE TABLE values_minutes AS SELECT * EXCLUDE (session_id, user_id) FROM measures(0, 0, 60) LIMIT 0;
CREATE TABLE values_hours AS SELECT * EXCLUDE (session_id, user_id) FROM measures(0, 0, 3600) LIMIT 0;

-- Whatever went wrong or around trouble, one row each: few enough to be asked one by one.
CREATE MACRO trouble(after_flush, upto_flush) AS TABLE
SELECT happened_at, seq, session_id, user_id, device, source, policy, app_version, run_id, scenario,
    kind, outcome, reason, CASE WHEN kind IN ('FaultOrdered', 'FaultEnded') THEN fact ->> 'fault' ELSE error END AS error,
    step, served, route, call, cause, status, attempt, state, band,
    coalesce(kind = 'RequestServed' AND served IN ('network', 'nothing'), false) AS visible
FROM events
WHERE flush > after_flush AND flush <= upto_flush
    AND (kind IN ('RefreshFailed', 'RetryScheduled', 'FallbackTried', 'LoginRequested', 'SessionEnded', 'StuckFound',
            'PersistFailed', 'PartCrashed', 'AlertRaised', 'RefreshDiscarded', 'FaultOrdered', 'FaultEnded')
        OR (kind = 'RequestServed' AND error IS NOT NULL));

CREATE TABLE troubles AS FROM trouble(0, 0) LIMIT 0;

-- What the UX score is made of. SQL cannot count it, so the ledger brings it with each flush.
CREATE TABLE ux_fresh (
    bucket                TIMESTAMPTZ NOT NULL,
    session_id            VARCHAR     NOT NULL,
    user_id               VARCHAR     NOT NULL,
    device                VARCHAR     NOT NULL,
    source                VARCHAR     NOT NULL,
    policy                VARCHAR     NOT NULL,
    app_version           VARCHAR     NOT NULL,
    run_id                VARCHAR,
    scenario              VARCHAR,
    used                  BOOLEAN     NOT NULL,
    active_us             BIGINT      NOT NULL,
    forced_sign_ins       BIGINT      NOT NULL,
    surfaced_401s         BIGINT      NOT NULL,
    excused_ends          BIGINT      NOT NULL,
    requests              BIGINT      NOT NULL,
    auth_errors           BIGINT      NOT NULL,
    answers               BIGINT      NOT NULL,
    reuse_revocations     BIGINT      NOT NULL,
    uses_after_revocation BIGINT      NOT NULL
);
CREATE TABLE ux_minutes AS FROM ux_fresh LIMIT 0;
CREATE TABLE ux_hours AS FROM ux_fresh LIMIT 0;

CREATE TABLE ux_values_fresh (
    bucket      TIMESTAMPTZ NOT NULL,
    session_id  VARCHAR     NOT NULL,
    user_id     VARCHAR     NOT NULL,
    device      VARCHAR     NOT NULL,
    source      VARCHAR     NOT NULL,
    policy      VARCHAR     NOT NULL,
    app_version VARCHAR     NOT NULL,
    run_id      VARCHAR,
    scenario    VARCHAR,
    measure     VARCHAR     NOT NULL,   -- resume_ms, waited_ms, stale_ttls
    bin         INTEGER     NOT NULL,
    n           BIGINT      NOT NULL
);
CREATE TABLE ux_values_minutes AS FROM ux_values_fresh LIMIT 0;
-- Hours do not tell sessions apart: there would be as many rows as values.
CREATE TABLE ux_values_hours AS SELECT * EXCLUDE (session_id, user_id) FROM ux_values_fresh LIMIT 0;

-- Sessions whose part of these must be counted anew from their events.
CREATE TABLE ux_anew (session_id VARCHAR NOT NULL);
INSERT INTO ux_anew SELECT DISTINCT session_id FROM events;

-- Everything, folded or not.
CREATE MACRO unfolded() AS (SELECT max(flush) FROM folded);

CREATE VIEW all_sessions_minutes AS
FROM sessions_minutes UNION ALL FROM marks((SELECT unfolded()), 9223372036854775807, 60);
CREATE VIEW all_sessions_hours AS
FROM sessions_hours UNION ALL FROM marks((SELECT unfolded()), 9223372036854775807, 3600);
CREATE VIEW all_counts_minutes AS
FROM counts_minutes
UNION ALL SELECT * EXCLUDE (session_id, user_id) FROM words((SELECT unfolded()), 9223372036854775807, 60);
CREATE VIEW all_counts_hours AS
FROM counts_hours
UNION ALL SELECT * EXCLUDE (session_id, user_id) FROM words((SELECT unfolded()), 9223372036854775807, 3600);
CREATE VIEW all_values_minutes AS
FROM values_minutes
UNION ALL SELECT * EXCLUDE (session_id, user_id) FROM measures((SELECT unfolded()), 9223372036854775807, 60);
CREATE VIEW all_values_hours AS
FROM values_hours
UNION ALL SELECT * EXCLUDE (session_id, user_id) FROM measures((SELECT unfolded()), 9223372036854775807, 3600);
CREATE VIEW all_troubles AS
FROM troubles UNION ALL FROM trouble((SELECT unfolded()), 9223372036854775807);
CREATE VIEW all_ux_minutes AS FROM ux_minutes UNION ALL FROM ux_fresh;
CREATE VIEW all_ux_hours AS
FROM ux_hours UNION ALL (SELECT * REPLACE (bucket_of(bucket, 3600) AS bucket) FROM ux_fresh);
CREATE VIEW all_ux_values_minutes AS FROM ux_values_minutes UNION ALL FROM ux_values_fresh;
CREATE VIEW all_ux_values_hours AS
FROM ux_values_hours
UNION ALL (SELECT * EXCLUDE (session_id, user_id) REPLACE (bucket_of(bucket, 3600) AS bucket) FROM ux_values_fresh);
