-- Schema version 2: one row per simulated run. Its events bear its run_id.

CREATE TABLE runs (
    run_id             VARCHAR     NOT NULL,   -- scenario/policy/seed/version
    scenario           VARCHAR     NOT NULL,
    policy             VARCHAR     NOT NULL,
    seed               BIGINT      NOT NULL,
    version            VARCHAR     NOT NULL,
    passed             BOOLEAN     NOT NULL,
    failures           VARCHAR[]   NOT NULL,   -- in words
    survived           BOOLEAN     NOT NULL,
    sign_outs          INTEGER     NOT NULL,
    sign_out_reasons   VARCHAR[]   NOT NULL,
    visible_errors     INTEGER     NOT NULL,
    wake_to_success_ms DOUBLE,
    token_posts        INTEGER     NOT NULL,
    reuse_events       INTEGER     NOT NULL,
    stuck_ms           DOUBLE      NOT NULL,
    health_min         DOUBLE,
    health_mean        DOUBLE,
    ux_score           DOUBLE      NOT NULL,
    ux_parts           JSON        NOT NULL,
    virtual_seconds    DOUBLE      NOT NULL,
    digest             VARCHAR     NOT NULL,
    started_at         TIMESTAMPTZ NOT NULL,   -- on the wall of the machine that ran it
    finished_at        TIMESTAMPTZ NOT NULL
);
