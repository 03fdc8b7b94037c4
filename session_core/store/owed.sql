-- Schema version 5: what a crowd of events made wait.

-- From this flush on, what the score is made of has yet to be counted; empty when nothing has.
CREATE TABLE owed (flush BIGINT NOT NULL);
