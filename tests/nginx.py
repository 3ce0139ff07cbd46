"""An nginx in front of the web process, with TLS, as docs/operations.md says to set it up."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes import free_port, until
from tests.rabbitmq import running

CONFIGURATION = """
daemon off;
pid {home}/pid;
error_log stderr;
{user}
events {{}}
http {{
  access_log off;
  client_body_temp_path {home}/bodies;
  proxy_temp_path {home}/answers;
  fastcgi_temp_path {home}/unused;
  uwsgi_temp_path {home}/unused;
  scgi_temp_path {home}/unused;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {home}/certificate;
    ssl_certificate_key {home}/key;
    client_max_body_size 4m;
    merge_slashes off;
    location {location} {{
      proxy_pass {web};
      proxy_set_header Host $host;
      {headers}
    }}
  }}
}}
"""
MAKE_CERTIFICATE = (
    *("openssl", "req", "-x509", "-nodes", "-days", "1", "-newkey", "ec"),
    *("-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=localhost"),
    *("-addext", "subjectAltName=IP:127.0.0.1"),
)
FORWARDED = """
      proxy_set_header X-Forwarded-Prefix /study;
      proxy_set_header X-Forwarded-Proto https;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
"""


@contextmanager
def nginx(home: Path, web: str, location: str, headers: str = FORWARDED) -> Iterator[str]:
    """Serve a web process below a path; yield nginx's own address."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None or shutil.which("openssl") is None:
        pytest.skip("nginx or openssl is not installed")
    port = free_port()
    subprocess.run(
        [*MAKE_CERTIFICATE, "-keyout", home / "key", "-out", home / "certificate"],
        check=True,
        capture_output=True,
    )
    # If root starts nginx, it would change to an account that cannot enter this directory.
    user = "user root;" if os.geteuid() == 0 else ""
    text = CONFIGURATION.format(home=home, user=user, port=port, location=location, web=web, headers=headers)
    (home / "nginx.conf").write_text(text)
    with running([program, "-p", str(home), "-c", str(home / "nginx.conf")], home, {}) as process:
        until(lambda: process.poll() is not None or (home / "pid").exists(), "nginx runs")
        assert process.poll() is None, (home / "output").read_text()
        yield f"https://127.0.0.1:{port}"
