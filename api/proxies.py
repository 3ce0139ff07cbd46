"""Restore what a proxy changes in a request: the client's address, the scheme and the path.

No library does this: werkzeug's ProxyFix trusts the headers of any sender, and waitress can trust only a
single address.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Response, request

from shared.config import URL_PREFIX, Settings


def make_location_relative(response: Response) -> Response:
    """Remove our scheme and host from a `Location`: only the client knows by which address it reaches us."""
    location = response.location or "/"
    # Our own locations are paths already. This is tested first: computing `host_url` takes a tenth of the CPU
    # time that Flask needs for an upload.
    if not location.startswith("/") and location.startswith(request.host_url):
        response.location = location.removeprefix(request.host_url[:-1])
    return response


class ProxyHeaders:
    """Apply X-Forwarded-For, -Proto and -Prefix of trusted proxies; without -Prefix, apply URL_PREFIX."""

    def __init__(self, app: WSGIApplication, settings: Settings) -> None:
        self._app = app
        self._trusted = settings.proxy_networks
        self._prefix = settings.url_prefix

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request as if the client had sent it directly, without proxies."""
        prefix = ""
        if self._trusted and self._trusts(_address(environ["REMOTE_ADDR"])):
            # Each proxy appends the address that it sees. From the end, the first address that is not trusted
            # is the client's; the client may have invented all entries before this address.
            for hop in reversed(_listed(environ, "FOR")):
                try:
                    address = _address(hop)
                except ValueError:  # not an address
                    break
                environ["REMOTE_ADDR"] = str(address)
                if not self._trusts(address):
                    break
            if _listed(environ, "PROTO")[0].lower() == "https":  # the first value is of the first proxy
                environ["wsgi.url_scheme"] = "https"
            prefix = "".join(part.rstrip("/") for part in _listed(environ, "PREFIX"))
        if URL_PREFIX.fullmatch(prefix):  # the proxy has removed this prefix from the path
            environ["SCRIPT_NAME"] = prefix
        elif self._prefix:
            environ["SCRIPT_NAME"] = self._prefix
            if environ["PATH_INFO"].startswith(f"{self._prefix}/"):
                environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix(self._prefix)
        return self._app(environ, start_response)

    def _trusts(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._trusted)


def _listed(environ: WSGIEnvironment, name: str) -> list[str]:
    """Split an X-Forwarded header, to which each proxy of a chain may have added a value."""
    return [each.strip() for each in environ.get(f"HTTP_X_FORWARDED_{name}", "").split(",")]


def _address(hop: str) -> IPv4Address | IPv6Address:
    """Read an IP address, perhaps with a port; raise ValueError for any other text."""
    try:
        address = ip_address(hop)
    except ValueError:  # Azure's gateway adds a port, and then writes IPv6 in brackets
        address = ip_address(urlsplit(f"//{hop}").hostname or "")
    return getattr(address, "ipv4_mapped", None) or address
