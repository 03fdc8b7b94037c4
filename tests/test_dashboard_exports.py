"""What is taken away says what was looked at, holds what was seen, and trusts no word of it."""

from __future__ import annotations

import csv
import io
import zipfile

import pandas as pd

from session_core.dashboard import exports, page_report, trends
from session_core.dashboard.cards import Answer, Card, Page
from session_core.dashboard.view import View
from session_core.store import TimeRange

SPAN = TimeRange(7_200, 10_800)
WORDS = {"Time": "1 Jan 1970 02:00 – 03:00 (UTC)", "Policy": "basic\nevil"}
TABLE = pd.DataFrame(
    {
        "bucket": pd.DatetimeIndex(pd.to_datetime([7_200, 7_260], unit="s", utc=True)).as_unit("us"),
        "score": [91.25, float("nan")],
        "device": ["<b>phone</b>", "=cmd()"],
    }
)
SCORE = trends.Measure("UX score", "score", "UX score, 0 to 100", top=100)
CARD = Card(
    "score", "UX score", lambda shown: Answer(TABLE, "It is 91.", trends.over_time(TABLE, None, shown.span, SCORE))
)
FIGURES = Card("figures", "Figures", lambda _: Answer(TABLE, "Two."))
EMPTY = Card("none", "Nothing", lambda _: Answer(TABLE.iloc[:0], "No retries in this time range."))
PAGE = Page("Overview", lambda _: "Sessions are <good>.", (CARD, FIGURES, EMPTY))
SHOWN = PAGE.ask(View(span=SPAN))


def html() -> str:
    return page_report.to_html(PAGE.title, "Sessions are <good>.", SHOWN, WORDS)


def test_a_csv_file_says_at_its_head_what_was_looked_at() -> None:
    """In lines that begin with #, each on its own line whatever a filter is called; then the table, in UTC."""
    lines = exports.to_csv("UX score", WORDS, TABLE).splitlines()
    head = [line for line in lines if line.startswith("#")]
    assert head[:3] == ["# Table: UX score", "# Time: 1 Jan 1970 02:00 – 03:00 (UTC)", "# Policy: basic evil"]
    assert any(line.startswith("# Version: session_core ") for line in head)
    rows = list(csv.reader(lines[len(head) :]))
    assert rows[:2] == [["bucket", "score", "device"], ["1970-01-01T02:00:00Z", "91.25", "<b>phone</b>"]]


def test_a_spreadsheet_finds_no_formula() -> None:
    """What a browser said of itself is no instruction."""
    assert "'=cmd()" in exports.to_csv("UX score", WORDS, TABLE)


def test_all_tables_come_in_one_file() -> None:
    """One each, those without rows too, and the same bytes each time."""
    packed = exports.to_zip(SHOWN, WORDS)
    assert packed == exports.to_zip(SHOWN, WORDS)
    with zipfile.ZipFile(io.BytesIO(packed)) as files:
        assert files.namelist() == ["score.csv", "figures.csv", "none.csv"]
        assert files.read("score.csv").decode() == exports.to_csv("UX score", WORDS, TABLE)


def test_a_page_is_one_file_with_its_sentence_its_words_and_its_cards() -> None:
    """The script that draws is in it once, and nothing is loaded from elsewhere."""
    written = html()
    outside = written.split("</script>", 1)[1]
    assert "Sessions are &lt;good&gt;." in outside
    assert "basic\nevil" in outside
    assert outside.count('class="plotly-graph-div"') == 1
    assert written.count("plotly.js v") == 1
    assert 'src="' not in outside
    assert "It is 91." in outside
    assert "Table, 2 rows" in outside


def test_an_exported_table_is_text() -> None:
    """Names are escaped, a missing value is a dash, and a moment is a time in UTC."""
    outside = html().split("</script>", 1)[1]
    assert "<b>" not in outside
    assert "&lt;b&gt;phone&lt;/b&gt;" in outside
    assert "<td>–</td>" in outside
    assert "<td>1970-01-01 02:01:00</td>" in outside


def test_a_card_without_a_picture_shows_its_table_and_one_without_rows_says_why() -> None:
    """Nothing is left out without a word."""
    outside = html().split("</script>", 1)[1]
    assert "<h2>Figures</h2><p class=quiet>Two.</p><div class=wide><table>" in outside
    assert "<h2>Nothing</h2><p class=quiet>No retries in this time range.</p></section>" in outside


def test_a_long_table_is_cut_and_says_so() -> None:
    """A page of a hundred thousand rows would not open."""
    long = pd.DataFrame({"number": range(page_report.ROWS_MAX + 1)})
    written = page_report.to_html("T", "", [(CARD, Answer(long, "Many.", SHOWN[0][1].figure))], {})
    assert "Table, 5,001 rows, the first 5,000 of them" in written
    assert written.count("<td>") == page_report.ROWS_MAX + len({"Times in tables", "Version"})


def test_a_file_is_named_after_what_is_in_it() -> None:
    """In plain letters."""
    assert exports.file_name("Why 91?", ending="csv") == "session-lab-why-91.csv"
