"""The event store: events go in through the recorder, answers come out of queries."""

from session_core.store.event_store import EventStore, StoreStatistics
from session_core.store.recorder import Recorder
from session_core.store.recording import RecorderStatistics
from session_core.store.runs import StoredRun
from session_core.store.selection import EVERYTHING, Filters, TimeRange, bucket_width_s

__all__ = [
    "EVERYTHING",
    "EventStore",
    "Filters",
    "Recorder",
    "RecorderStatistics",
    "StoreStatistics",
    "StoredRun",
    "TimeRange",
    "bucket_width_s",
]
