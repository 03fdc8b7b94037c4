"""What can be filtered by: the values that occur in a span of time."""

from __future__ import annotations

import msgspec
import pandas as pd

from session_core.store.event_store import EventStore
from session_core.store.selection import EVERYTHING, Filters, TimeRange

COLUMNS = ("source", "policy", "app_version", "device", "scenario")
VALUES_MAX = 200


def filter_values(store: EventStore, span: TimeRange, filters: Filters = EVERYTHING) -> pd.DataFrame:
    """How many sessions have each value, those of most sessions first, 200 a column at most: column, value, sessions."""
    parameters = {
        "start": span.start_us,
        "end": span.end_us,
        "values_max": VALUES_MAX,
        "filters": {
            name: None if value is None else str(value) for name, value in msgspec.structs.asdict(filters).items()
        },
    }
    answer: pd.DataFrame = store.read(_FILTER_VALUES, parameters).to_pandas()
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
    FROM chosen($start, $end, $filters)
    GROUP BY GROUPING SETS ((source), (policy), (app_version), (device), (scenario))
)
WHERE value <> ''
QUALIFY row_number() OVER (PARTITION BY name ORDER BY sessions DESC, value) <= $values_max
ORDER BY list_position(['source', 'policy', 'app_version', 'device', 'scenario'], name), sessions DESC, value
"""
