"""Tables to take away: CSV files that say at their head what was looked at."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterable, Mapping

import pandas as pd

from session_core.dashboard.cards import Answer, Card
from session_core.sim.run import VERSION

# A spreadsheet takes what begins so for a formula, and some of what is shown was said by a browser.
FORMULA = re.compile(r"[=+\-@\t\r]")
NAME = re.compile(r"[^a-z0-9]+")


def to_csv(title: str, words: Mapping[str, str], table: pd.DataFrame) -> str:
    """The table under lines that begin with #; times are UTC."""
    head = {"Table": title, **words, "Times": "UTC", "Version": f"session_core {VERSION}"}
    written = io.StringIO()
    written.writelines(f"# {name}: {' '.join(said.split())}\n" for name, said in head.items())
    rows = csv.writer(written, lineterminator="\n")
    rows.writerow([_plain(column) for column in table.columns])
    rows.writerows([_plain(value) for value in row] for row in table.itertuples(index=False, name=None))
    return written.getvalue()


def to_zip(shown: Iterable[tuple[Card, Answer]], words: Mapping[str, str]) -> bytes:
    """The tables of these cards as one file; the same ones make the same bytes."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as packed:
        for card, answer in shown:
            content = to_csv(card.title, words, answer.table)
            packed.writestr(zipfile.ZipInfo(f"{card.key}.csv"), content, zipfile.ZIP_DEFLATED)
    return written.getvalue()


def file_name(*words: str, ending: str) -> str:
    """Such as session-lab-overview-retries.csv."""
    return f"{NAME.sub('-', ' '.join(('session lab', *words)).lower()).strip('-')}.{ending}"


def _plain(value: object) -> object:
    if isinstance(value, pd.Timestamp):
        return value.tz_convert("UTC").isoformat().replace("+00:00", "Z") if value.tzinfo else value.isoformat()
    if isinstance(value, str) and FORMULA.match(value):
        return f"'{value}"
    return value
