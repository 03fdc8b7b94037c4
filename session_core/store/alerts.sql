-- Schema version 4: the state of every alert, what became of it, and the rules that were saved on the page.

CREATE TABLE alerts (
    rule           VARCHAR     NOT NULL,
    state          VARCHAR     NOT NULL,
    since          TIMESTAMPTZ NOT NULL,
    silenced_until TIMESTAMPTZ,
    frozen         VARCHAR                 -- why it cannot be measured
);

CREATE TABLE alert_changes (
    number     BIGINT      NOT NULL,       -- the order in which they happened
    change_id  VARCHAR     NOT NULL,       -- by which a receiver knows one that comes twice
    rule       VARCHAR     NOT NULL,
    kind       VARCHAR     NOT NULL,
    state      VARCHAR     NOT NULL,       -- where the alert stood afterwards
    changed_at TIMESTAMPTZ NOT NULL,
    sentence   VARCHAR     NOT NULL,
    message    JSON        NOT NULL,       -- what the webhook is sent
    delivery   VARCHAR     NOT NULL,       -- untold, pending, delivered, given_up
    tries      INTEGER     NOT NULL,
    trouble    VARCHAR     NOT NULL        -- with its delivery, in words
);

-- At most one row; without it the settings are those of the configuration.
CREATE TABLE alert_settings (settings JSON NOT NULL);
