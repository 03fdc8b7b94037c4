-- Schema version 7: quarters of a day, which is all that buckets of six hours and more need. Of words and bins there are so few
-- that hours do.

CREATE TABLE sessions_quarters AS FROM sessions_hours LIMIT 0;
CREATE TABLE ux_quarters AS FROM ux_hours LIMIT 0;
CREATE TABLE ux_values_quarters AS FROM ux_values_hours LIMIT 0;

INSERT INTO sessions_quarters
SELECT bucket_of(bucket, 21600) AS quarter, session_id, user_id, device, source, policy, app_version, run_id, scenario,
    sum(events), sum(requests), sum(visible_errors), sum(refreshes_ok), sum(refreshes_failed), sum(retries), sum(fallbacks),
    sum(sign_outs), sum(stuck), min(first_at), max(last_at), arg_max(state, state_at), max(state_at), arg_max(edge, edge_at),
    max(edge_at), arg_max(end_reason, edge_at), arg_max(band, band_at), arg_max(health, band_at), max(band_at)
FROM sessions_hours
GROUP BY ALL
ORDER BY quarter;

INSERT INTO ux_quarters
SELECT bucket_of(bucket, 21600) AS quarter, session_id, user_id, device, source, policy, app_version, run_id, scenario,
    bool_or(used), sum(active_us), sum(forced_sign_ins), sum(surfaced_401s), sum(excused_ends), sum(requests),
    sum(auth_errors), sum(answers), sum(reuse_revocations), sum(uses_after_revocation)
FROM ux_hours
GROUP BY ALL
ORDER BY quarter;

INSERT INTO ux_values_quarters
SELECT bucket_of(bucket, 21600) AS quarter, device, source, policy, app_version, run_id, scenario, measure, bin, sum(n)
FROM ux_values_hours
GROUP BY ALL
HAVING sum(n) <> 0
ORDER BY quarter;

CREATE VIEW all_sessions_quarters AS
FROM sessions_quarters UNION ALL FROM marks((SELECT unfolded()), 9223372036854775807, 21600);
CREATE VIEW all_ux_quarters AS
FROM ux_quarters UNION ALL (SELECT * REPLACE (bucket_of(bucket, 21600) AS bucket) FROM ux_fresh);
CREATE VIEW all_ux_values_quarters AS
FROM ux_values_quarters
UNION ALL (SELECT * EXCLUDE (session_id, user_id) REPLACE (bucket_of(bucket, 21600) AS bucket) FROM ux_values_fresh);
