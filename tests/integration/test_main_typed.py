"""Whatever an operator types, a command ends with a line that names the mistake, never with a traceback."""

import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import main

STORES = {"DATABASE_URL": "postgresql://study@127.0.0.1:1/x", "BROKER_URL": "redis://127.0.0.1:1/0"}
SEND = ["upload", os.devnull, "--token", "a-token-of-sixteen", "--url"]
TO = ["upload", os.devnull, "--url", "http://127.0.0.1:1", "--token"]


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        *(([*SEND, url], {}) for url in ("http://[::1", "ftp://x", "x", "http://a:99999", "http://", "//x")),
        *(([*TO, token], {}) for token in ("é", "a\nb", "\0")),
        *((["doctor"], {"API_URL": url}) for url in ("http://[::1", "ftp://x", "//x", "http://a:99999")),
        *(
            ([*command], {"DATABASE_URL": f"postgresql://{rest}"})
            for command in (["uploads", "list"], ["migrate"], ["doctor"])
            for rest in ("h:port/d", "u@[::1/db", "127.0.0.1:1/d?sslmode=foo", "127.0.0.1:1/d?foo=bar", "")
        ),
        *(
            (["stats"], {"BROKER_URL": url})
            for url in ("redis://h:99999", "redis://[::1", "amqp://u:p@h:x//", "redis://127.0.0.1:1/abc")
        ),
        *((["doctor"], {"REDIS_URL": url}) for url in ("redis://h:abc/1", "redis://127.0.0.1:1?foo=bar")),
        *((["verify"], {"STUDY_TIME_ZONE": zone}) for zone in ("Asia", "../../etc/passwd", "/etc/localtime")),
        *((["verify"], {"LOCK_TIMEOUT": limit}) for limit in ("nan", "inf", "-1", "1e300")),
        *(([name, "--data-dir", "/dev/null/x"], {"DATABASE_URL": ""}) for name in ("up", "stats", "demo")),
    ],
)
def test_a_mistake_is_a_line(
    words: list[str], environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.doctor.START_S", 0.0)
    result = CliRunner().invoke(main, words, env=STORES | environment)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in {1, 2}, result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(("value", "codes"), [("", ["\x1b["]), ("1", [])])
def test_no_color_is_obeyed(value: str, codes: list[str], tmp_path: Path) -> None:
    words = ["doctor", "--data-dir", str(tmp_path)]
    result = CliRunner().invoke(main, words, env={"NO_COLOR": value, "DATABASE_URL": ""}, color=True)
    assert re.findall("\x1b\\[", result.output)[:1] == codes
