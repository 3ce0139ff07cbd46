"""Operators as tests play them, without a browser."""

import re

import httpx

PASSWORD = "a password for tests"
LOGIN = "/ops/login"


def log_in(web: httpx.Client, password: str = PASSWORD, **headers: str) -> httpx.Response:
    return web.post(LOGIN, data={"password": password}, headers=headers)


def token(page: httpx.Response) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert found
    return found[1]


def press(web: httpx.Client, path: str, **fields: str) -> httpx.Response:
    """Send the form of a page, as a browser would: with the token that stands there."""
    return web.post(path, data={"csrf_token": token(web.get("/ops"))} | fields)
