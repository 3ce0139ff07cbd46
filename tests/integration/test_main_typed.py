"""Whatever an operator types, a command ends with a line that names the mistake, never with a traceback."""

import gzip
import io
import os
import random
import re
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.main import main

NO_HOSTS = ("a..b", "x" * 64)
SYNC = ["catalog", "sync", os.devnull, "--url"]
TOKEN = {"CATALOG_TOKEN": "a-token-of-sixteen"}
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
        *(
            (["verify"], {"STUDY_TIME_ZONE": zone})
            for zone in ("Asia", "../../etc/passwd", "/etc/localtime", "localtime", "posix/Asia/Seoul")
        ),
        *((["verify"], {"LOCK_TIMEOUT": limit}) for limit in ("nan", "inf", "-1", "1e300")),
        *(([name, "--data-dir", "/dev/null/x"], {"DATABASE_URL": ""}) for name in ("up", "stats", "demo")),
        # Names that no resolver is asked: to the standard library they are no text of IDNA.
        *(([*SEND, f"http://{host}"], {}) for host in NO_HOSTS),
        *(([*SYNC, f"http://{host}"], TOKEN) for host in (*NO_HOSTS, "[::1", "a:0x1", "\n")),
        *(([*SYNC, "http://127.0.0.1:1"], {"CATALOG_TOKEN": token}) for token in ("é", "a\nb")),
        *((["doctor"], {"API_URL": f"http://{host}"}) for host in NO_HOSTS),
        *((["stats"], {"DATABASE_URL": f"postgresql://{host}/d"}) for host in NO_HOSTS),
        *((["stats"], {"BROKER_URL": f"{kind}://{host}"}) for kind in ("redis", "amqp") for host in NO_HOSTS),
        *((["stats"], {"REDIS_URL": f"redis://{host}"}) for host in NO_HOSTS),
        *((["stats"], {"BROKER_URL": f"redis+socket://{rest}"}) for rest in ("", "socket")),
        (["tokens", "keygen", "--signing-key", "/dev/null/x", "--keys", "/dev/null/y"], {}),
        (["tokens", "keygen", "--signing-key", f"/dev/{'x' * 300}", "--keys", "/dev/null/y"], {}),
    ],
)
def test_a_mistake_is_a_line(
    words: list[str], environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.doctor.START_S", 0.0)
    result = CliRunner().invoke(main, words, env=STORES | environment)
    is_a_line(result)


def is_a_line(result: Result) -> None:
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in {1, 2}, result.output
    assert "Traceback" not in result.output
    assert "Aborted!" not in result.output, "it does not say why"


def packed(method: int, *, damaged: bool) -> bytes:
    """Make a package that is damaged, or locked by a password."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as package:
        for name in ("items.xml", "collection.anki2"):
            package.writestr(name, random.Random(name).randbytes(2000))
    content = bytearray(file.getvalue())
    for header, flags, data in ((b"PK\3\4", 6, 60), (b"PK\1\2", 8, 0)):
        for found in re.finditer(re.escape(header), bytes(content)):
            if damaged and data:
                content[found.start() + data : found.start() + data + 40] = b"\xff" * 40
            content[found.start() + flags] |= not damaged
    return bytes(content)


FILES = {
    "digits": b'{"users": [{"id": %s}]}' % (b"1" * 5000),
    "deep": b"[" * 100_000,
    "a number": b"5",
    "noise": random.Random(1).randbytes(3000),
    "table.ndjson": b"pub_id;topic\n1;2\n",
    "ends early.ndjson.gz": gzip.compress(random.Random(1).randbytes(500).hex().encode(), mtime=0)[:100],
    **{f"damaged, {method}": packed(method, damaged=True) for method in (0, 8, 12, 14)},
    "locked": packed(8, damaged=False),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "words",
    [
        "catalog load {}",
        "catalog sync {} --url http://127.0.0.1:1",
        "import {} --learner 1 --field x",
        "import /dev/null --learner 1 --mapping {}",
        "tokens mint --learner 1 --audience x --signing-key {}",
        "tokens keygen --signing-key {}.new --keys {}",
        "stats --env-file {}",
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_a_line(words: str, name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(FILES[name])
    typed = [word.format(file, file) for word in words.split()]
    is_a_line(CliRunner().invoke(main, typed, env=STORES | TOKEN))


@pytest.mark.parametrize("name", ["stats", "doctor", "up", "demo", "smoke", "migrate"])
@pytest.mark.parametrize("kind", ["a link to itself", "a file", "too long a name"])
def test_a_data_directory_that_is_none_is_a_line(name: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / ("x" * 300 if kind == "too long a name" else "data")
    if kind == "a file":
        path.touch()
    elif kind == "a link to itself":
        path.symlink_to(path)
    environment = dict.fromkeys([*STORES, "VIEWER_SYNC_TOKEN", "API_URL"], "")
    is_a_line(CliRunner().invoke(main, [name, "--data-dir", str(path)], env=environment))


@pytest.mark.parametrize(("value", "codes"), [("", ["\x1b["]), ("1", [])])
def test_no_color_is_obeyed(value: str, codes: list[str], tmp_path: Path) -> None:
    words = ["doctor", "--data-dir", str(tmp_path)]
    result = CliRunner().invoke(main, words, env={"NO_COLOR": value, "DATABASE_URL": ""}, color=True)
    assert re.findall("\x1b\\[", result.output)[:1] == codes
