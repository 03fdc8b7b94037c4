"""What `import session_core` offers: few names, sorted, each one importable, and nothing heavy loaded for it."""

from __future__ import annotations

import subprocess
import sys

import session_core

NAMES_MAX = 20


def test_names_are_few_and_sorted() -> None:
    """A reader can hold them all."""
    names = session_core.__all__
    assert names == sorted(names)
    assert len(names) == len(set(names)) <= NAMES_MAX


def test_names_are_complete() -> None:
    """Everything imported to be offered is offered, and everything offered is there."""
    public = {name for name, value in vars(session_core).items() if isinstance(value, type)}
    assert public | {"Clock"} == set(session_core.__all__) | {"Clock"}
    assert all(hasattr(session_core, name) for name in session_core.__all__)


def test_importing_the_library_loads_neither_app_nor_database() -> None:
    """The core stays small: no Streamlit, DuckDB, pandas, web server or command line."""
    heavy = "streamlit duckdb pandas pyarrow plotly starlette uvicorn typer"
    program = f"import sys, session_core; print(*sorted(set('{heavy}'.split()) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
