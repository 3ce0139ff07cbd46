"""Files of settings in the format of systemd's `EnvironmentFile=`, which a shell may read differently."""

import re
from pathlib import Path

from shared.errors import ConfigurationError

# systemd.exec(5), "EnvironmentFile=": a value ends with its line, unless it is quoted or the line ends with a
# backslash; spaces around it are left out, and nothing is expanded.
_ASSIGNMENT = re.compile(
    r"""^[ \t]*(?P<name>[A-Za-z_]\w*)=[ \t]*(?:
        '(?P<single>[^']*)'
        | "(?P<double>(?:[^"\\]|\\.)*)"
        | (?P<plain>(?!['"])(?:[^\\\n]|\\.)*)
    )[ \t\r]*$""",
    re.MULTILINE | re.DOTALL | re.VERBOSE | re.ASCII,
)
_IGNORED = re.compile(r"\s*([#;].*)?")


def read_env_file(path: Path) -> dict[str, str]:
    """Read a file of settings; raise ConfigurationError that names the line which cannot be read."""
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8: save it as UTF-8") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    found, end = {}, 0
    for assignment in _ASSIGNMENT.finditer(text):
        _refuse_others(path, text, end, assignment.start())
        found[assignment["name"]] = _value(assignment)
        end = assignment.end()
    _refuse_others(path, text, end, len(text))
    return found


def _value(assignment: re.Match[str]) -> str:
    if (single := assignment["single"]) is not None:
        return single
    if (double := assignment["double"]) is not None:
        return re.sub(r'\\(?:\n|(["\\`$]))', lambda escape: escape[1] or "", double)
    return re.sub(r"\\(?:\n|(.))", lambda escape: escape[1] or "", assignment["plain"].rstrip(" \t\r"))


def _refuse_others(path: Path, text: str, start: int, end: int) -> None:
    """Refuse lines that are neither an assignment nor a comment; systemd would ignore them silently."""
    for number, line in enumerate(text[start:end].split("\n"), start=text.count("\n", 0, start) + 1):
        if not _IGNORED.fullmatch(line):
            raise ConfigurationError(f"{path}: line {number} is not NAME=VALUE")
