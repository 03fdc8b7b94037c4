-- Schema version 6: what the list of errors calls a trouble, by one word instead of four, so that telling them apart is quick.

ALTER TABLE troubles ADD COLUMN label VARCHAR;

-- NULL where nothing went wrong: a step that helped, an end that the user or the operator wanted.
CREATE MACRO label_of(kind, error, cause, reason, outcome, state, route, call, step, visible) AS
CASE WHEN kind IN ('RequestServed', 'RefreshFailed', 'RetryScheduled', 'StuckFound', 'PersistFailed', 'PartCrashed', 'AlertRaised')
        OR (kind = 'FallbackTried' AND outcome = 'failed')
        OR (kind = 'SessionEnded' AND reason NOT IN ('signed_out', 'stopped'))
    THEN CAST(json_array(kind, coalesce(error, cause, reason, outcome, state), coalesce(route, call, step), visible) AS VARCHAR)
    END;

UPDATE troubles SET label = label_of(kind, error, cause, reason, outcome, state, route, call, step, visible);

CREATE MACRO labelled(after_flush, upto_flush) AS TABLE
SELECT *, label_of(kind, error, cause, reason, outcome, state, route, call, step, visible) AS label
FROM trouble(after_flush, upto_flush);

CREATE OR REPLACE VIEW all_troubles AS
FROM troubles UNION ALL FROM labelled((SELECT unfolded()), 9223372036854775807);
