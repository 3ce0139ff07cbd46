"""Files of settings in systemd's form: what `EnvironmentFile=` reads, a shell that sources it may not."""

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
    """Read a file of settings; raise ConfigurationError where it cannot be read, by its line."""
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
    """Refuse what is neither an assignment nor a comment; systemd would leave it out without a word."""
    for number, line in enumerate(text[start:end].split("\n"), start=text.count("\n", 0, start) + 1):
        if not _IGNORED.fullmatch(line):
            raise ConfigurationError(f"{path}: line {number} is no NAME=VALUE")
