"""What can be filtered by: the values that occur in a span of time."""

from __future__ import annotations

import pandas as pd

from session_core.store.asking import asked
from session_core.store.event_store import EventStore
from session_core.store.selection import EVERYTHING, Filters, TimeRange

COLUMNS = ("source", "policy", "app_version", "device", "scenario")
VALUES_MAX = 200


def filter_values(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """How many sessions have each value, those of most sessions first, 200 a column at most: column, value, sessions."""
    question = asked(span, filters)
    text = _FILTER_VALUES.format(grain=question.grain, rows=question.rows)
    answer: pd.DataFrame = store.read(text, {**question.given, "values_max": VALUES_MAX}).to_pandas()
    return answer


_FILTER_VALUES = """
SELECT name AS "column", value, sessions
FROM (
    SELECT
        CASE
            WHEN GROUPING(source) = 0 THEN 'source'
            WHEN GROUPING(policy) = 0 THEN 'policy'
            WHEN GROUPING(app_version) = 0 THEN 'app_version'
            WHEN GROUPING(device) = 0 THEN 'device'
            ELSE 'scenario'
        END AS name,
        coalesce(source, policy, app_version, device, scenario) AS value,
        count(DISTINCT session_id) AS sessions
    FROM (SELECT DISTINCT session_id, source, policy, app_version, device, scenario FROM all_sessions_{grain} WHERE {rows})
    GROUP BY GROUPING SETS ((source), (policy), (app_version), (device), (scenario))
)
WHERE value <> ''
QUALIFY row_number() OVER (PARTITION BY name ORDER BY sessions DESC, value) <= $values_max
ORDER BY list_position(['source', 'policy', 'app_version', 'device', 'scenario'], name), sessions DESC, value
"""
