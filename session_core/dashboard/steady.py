"""Charts that stay in sight while Streamlit makes them anew: a script for the pages, and where it is."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

SCRIPT_PATH = "/charts.js"
MARKUP = f'<script src="{SCRIPT_PATH}"></script>'
_SCRIPT = Path(__file__).with_name("steady.js")


async def script(_request: Request) -> Response:
    return FileResponse(_SCRIPT, media_type="text/javascript", headers={"cache-control": "no-cache"})


def routes() -> list[Route]:
    return [Route(SCRIPT_PATH, script)]
