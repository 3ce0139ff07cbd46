"""`tokens keygen` and `tokens mint`: what one makes the other signs with, and the server accepts."""

import errno
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.main import main
from shared.tokens import InvalidTokenError, LearnerTokens

AUDIENCE = "https://ds.example"


def run(*arguments: str | Path) -> Result:
    words = ["tokens", *(str(each) for each in arguments)]
    return CliRunner().invoke(main, words, env={"VIEWER_TOKEN_AUDIENCE": AUDIENCE})


def minted(signing_key: Path, *options: str) -> str:
    result = run("mint", "--learner", "42", "--signing-key", signing_key, *options)
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


@pytest.mark.parametrize("algorithm", ["EdDSA", "HS256"])
def test_a_minted_token_is_accepted_for_as_long_as_it_says(tmp_path: Path, algorithm: str) -> None:
    keys, signing_key = tmp_path / "keys.json", tmp_path / "signing.json"
    made = run("keygen", "--signing-key", signing_key, "--keys", keys, "--algorithm", algorithm)
    assert made.exit_code == 0, made.output
    learners = LearnerTokens(keys, audience=AUDIENCE)
    now = datetime.now(UTC)
    assert learners.verify(minted(signing_key), now + timedelta(hours=11, minutes=59)) == 42
    with pytest.raises(InvalidTokenError):
        learners.verify(minted(signing_key, "--for", "10m"), now + timedelta(minutes=12))


def test_a_second_key_leaves_the_first_as_it_is(tmp_path: Path) -> None:
    keys, signing_keys = tmp_path / "keys.json", [tmp_path / "1.json", tmp_path / "2.json"]
    for each in signing_keys:
        assert run("keygen", "--signing-key", each, "--keys", keys).exit_code == 0
    learners = LearnerTokens(keys, audience=AUDIENCE)
    assert {learners.verify(minted(each), datetime.now(UTC)) for each in signing_keys} == {42}


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace"])
@pytest.mark.parametrize("fails", [1, 2])
def test_a_full_disk_leaves_the_other_keys_and_keygen_can_be_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, fails: int
) -> None:
    keys, first, second = (tmp_path / name for name in ("keys.json", "1.json", "2.json"))
    assert run("keygen", "--signing-key", first, "--keys", keys).exit_code == 0
    keys.chmod(0o640)
    calls: list[object] = []
    works = {"os.fsync": os.fsync, "pathlib.Path.replace": Path.replace}[call]

    def fail(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == fails:
            raise OSError(errno.ENOSPC, "No space left on device", str(keys))
        return works(*arguments)

    with monkeypatch.context() as full:
        full.setattr(call, fail)
        assert run("keygen", "--signing-key", second, "--keys", keys).exit_code == 1
    assert sorted(tmp_path.iterdir()) == [first, keys]
    assert run("keygen", "--signing-key", second, "--keys", keys).exit_code == 0
    assert keys.stat().st_mode & 0o777 == 0o640
    learners = LearnerTokens(keys, audience=AUDIENCE)
    assert {learners.verify(minted(each), datetime.now(UTC)) for each in (first, second)} == {42}


def test_a_secret_is_not_added_to_a_file_that_everybody_may_read(tmp_path: Path) -> None:
    keys, first, second = (tmp_path / name for name in ("keys.json", "1.json", "2.json"))
    assert run("keygen", "--signing-key", first, "--keys", keys).exit_code == 0
    before = keys.read_text()
    words = ("keygen", "--signing-key", second, "--keys", keys, "--algorithm", "HS256")
    refused = run(*words)
    assert (refused.exit_code, f"chmod o= {keys}" in refused.stderr) == (1, True)
    assert (keys.read_text(), second.exists()) == (before, False)
    keys.chmod(0o640)
    assert run(*words).exit_code == 0


def test_a_link_to_the_keys_stays_a_link(tmp_path: Path) -> None:
    keys, link = tmp_path / "keys.json", tmp_path / "link.json"
    link.symlink_to(keys)
    for name in ("1.json", "2.json"):
        assert run("keygen", "--signing-key", tmp_path / name, "--keys", link).exit_code == 0
    assert (link.is_symlink(), len(json.loads(keys.read_text())["keys"])) == (True, 2)


def test_the_private_half_is_in_one_file_that_its_owner_alone_may_read(tmp_path: Path) -> None:
    keys, signing_key = tmp_path / "keys.json", tmp_path / "signing.json"
    made = run("keygen", "--signing-key", signing_key, "--keys", keys)
    private = json.loads(signing_key.read_text())["d"]
    assert signing_key.stat().st_mode & 0o777 == 0o600
    assert private not in keys.read_text() + made.output
    again = run("keygen", "--signing-key", signing_key, "--keys", keys)
    assert (again.exit_code, json.loads(signing_key.read_text())["d"]) == (1, private)
    assert again.stderr == f"Error: {signing_key} exists: choose another file\n"


def test_a_shared_secret_is_in_files_that_their_owner_alone_may_read(tmp_path: Path) -> None:
    keys, signing_key = tmp_path / "keys.json", tmp_path / "signing.json"
    run("keygen", "--signing-key", signing_key, "--keys", keys, "--algorithm", "HS256")
    assert {each.stat().st_mode & 0o777 for each in (keys, signing_key)} == {0o600}


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "No such file or directory"), ("{", "not a private key"), ('{"keys": []}', "not a private key"),
     ('{"kty": "OKP", "crv": "Ed25519", "x": "AA", "alg": "EdDSA", "kid": "a"}', "not a private key")],
)  # fmt: skip
def test_a_file_that_cannot_sign_is_named(tmp_path: Path, content: str | None, why: str) -> None:
    path = tmp_path / "signing.json"
    if content:
        path.write_text(content)
    result = run("mint", "--learner", "42", "--signing-key", path)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {path}: {why}")
