"""Simulated runs as rows: what each came to, beside the events that bear its run_id."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
import pyarrow as pa


class StoredRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run and its verdict. `started_at` and `finished_at` are wall seconds of the machine that ran it."""

    scenario: str
    policy: str
    seed: int
    version: str
    passed: bool
    failures: tuple[str, ...]
    survived: bool
    sign_outs: int
    sign_out_reasons: tuple[str, ...]
    visible_errors: int
    wake_to_success_ms: float | None
    token_posts: int
    reuse_events: int
    stuck_ms: float
    health_min: float | None
    health_mean: float | None
    ux_score: float
    ux_parts: Mapping[str, float]
    virtual_seconds: float
    digest: str
    started_at: float
    finished_at: float

    @property
    def run_id(self) -> str:
        return f"{self.scenario}/{self.policy}/{self.seed}/{self.version}"


def to_row(run: StoredRun) -> pa.Table:
    """One Arrow row with the columns of `runs` in runs.sql."""
    row = msgspec.structs.asdict(run) | {
        "run_id": run.run_id,
        "ux_parts": msgspec.json.encode(run.ux_parts).decode(),
        "started_at": datetime.fromtimestamp(run.started_at, UTC),
        "finished_at": datetime.fromtimestamp(run.finished_at, UTC),
    }
    return pa.Table.from_pylist([row])
