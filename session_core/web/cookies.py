"""Cookies as every route of ours sets them: out of reach of scripts and of other sites' requests, for the whole app."""

from __future__ import annotations

from starlette.responses import Response


def set_cookie(response: Response, name: str, value: str, *, life_s: float, secure: bool) -> None:
    response.set_cookie(name, value, max_age=int(life_s), path="/", secure=secure, httponly=True, samesite="lax")


def drop_cookie(response: Response, name: str, *, secure: bool) -> None:
    response.delete_cookie(name, path="/", secure=secure, httponly=True, samesite="lax")
