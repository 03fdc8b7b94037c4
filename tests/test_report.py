"""The report: one file that needs nothing else, says what was run, and trusts no word of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from html.parser import HTMLParser

import msgspec
import pytest

from session_core.config import BASIC, PROFESSIONAL
from session_core.dashboard.report import report_page
from session_core.lab import run_sweep
from session_core.lab_jobs import Job, plan
from session_core.sim.run import VERSION
from session_core.sim.scenario import read_catalogue

CATALOGUE = read_catalogue()
JOBS = plan([CATALOGUE["lid-close-overnight"], CATALOGUE["outage-at-wake"]], [PROFESSIONAL, BASIC], [1, 2])
VOID = {"meta", "br"}


class Page(HTMLParser):
    """Text outside scripts and styles, what is loaded from elsewhere, and whether every tag is closed."""

    def __init__(self, written: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(written)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        said = dict(attributes)
        self.tags[tag] += 1
        self.open += [] if tag in VOID else [tag]
        self.loads += [tag] if tag in ("link", "img", "iframe", "object") or "src" in said else []
        self.ids += [str(said["id"])] if "id" in said else []
        self.links += [str(said["href"])] if "href" in said else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text += data


def page(jobs: Sequence[Job], *, keep_events: bool = False) -> tuple[Page, str]:
    written = report_page(jobs, run_sweep(jobs, processes=1, keep_events=keep_events).runs)
    return Page(written), written


@pytest.fixture(scope="module")
def sweep() -> tuple[Page, str]:
    return page(JOBS)


def test_it_needs_nothing_from_elsewhere(sweep: tuple[Page, str]) -> None:
    """Plotly is in it once; no picture, style or script is fetched."""
    read, written = sweep
    assert read.loads == []
    assert read.open == []
    assert len(re.findall(r"plotly\.js v\d", written)) == 1
    style = written[written.index("<style>") : written.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "prefers-color-scheme: dark" in style


def test_verdicts_failures_settings_versions_and_digests_are_printed(sweep: tuple[Page, str]) -> None:
    """Whoever was not there can do it again."""
    read, _ = sweep
    assert "4 of 8 runs passed (50.0 %)." in read.text
    assert "lid-close-overnight under basic, seeds 1, 2" in read.text
    assert "sign_outs was 1" in read.text
    assert "python -m session_core replay --scenario lid-close-overnight --policy basic --seed 1" in read.text
    assert f"Seeds 1 to 2; session_core {VERSION}" in read.text
    assert '"proactive": false' in read.text
    for made in run_sweep(JOBS, processes=1).runs:
        assert made.digest in read.text


def test_each_failed_cell_leads_to_its_words(sweep: tuple[Page, str]) -> None:
    """And to nothing that is not there; no id is used twice."""
    read, _ = sweep
    assert read.links == ["#lid-close-overnight/basic", "#outage-at-wake/basic"]
    assert {link[1:] for link in read.links} <= set(read.ids)
    assert len(read.ids) == len(set(read.ids))


def test_a_figure_that_is_the_same_everywhere_is_not_drawn(sweep: tuple[Page, str]) -> None:
    """What differs is."""
    read, _ = sweep
    assert "ux_score" in read.ids
    alike, _ = page(plan([CATALOGUE["stampede"]], [PROFESSIONAL], [1, 2]))
    assert "sign_outs" not in alike.ids


def test_a_run_with_its_events_is_told_as_a_story() -> None:
    """In words, as a timeline, and line by line."""
    read, _ = page(JOBS[:1], keep_events=True)
    assert read.open == []
    assert "lid-close-overnight under professional, seed 1" in read.text
    assert "The run passed." in read.text
    assert "timeline" in read.ids
    assert "+8:30:00.000DeviceThe device woke up." in read.text


def test_one_of_many_users_is_told_of() -> None:
    """The report says that it is one."""
    several = msgspec.structs.replace(CATALOGUE["lid-close-overnight"], name="several", devices=2, sessions=3)
    read, _ = page(plan([several], [PROFESSIONAL], [1]), keep_events=True)
    assert "It is that of u0, one of 3 users." in read.text


def test_the_same_runs_make_the_same_page(sweep: tuple[Page, str]) -> None:
    """Nothing in it depends on when or where it was written."""
    assert page(JOBS)[1] == sweep[1]


def test_nothing_that_was_named_is_taken_for_html() -> None:
    """A scenario's words and a policy's name are text, whatever is in them."""
    trap = '</script><script>alert("gotcha")</script><b a="'
    scenario = msgspec.structs.replace(CATALOGUE["lid-close-overnight"], what=trap, passes_when=trap)
    policy = msgspec.structs.replace(BASIC, name=trap)
    for seeds, told in (([1], True), ([1, 2], False)):
        harmless = plan([CATALOGUE["lid-close-overnight"]], [BASIC, PROFESSIONAL], seeds)[: len(seeds) ** 2]
        trapped = plan([scenario], [policy, PROFESSIONAL], seeds)[: len(seeds) ** 2]
        read, _ = page(trapped, keep_events=told)
        assert read.tags == page(harmless, keep_events=told)[0].tags
        assert read.open == []


def test_a_sweep_that_was_stopped_before_its_first_run_has_a_page() -> None:
    """It says that nothing passed."""
    written = Page(report_page(JOBS, ()))
    assert "0 of 0" not in written.text
    assert "No run is done." in written.text
