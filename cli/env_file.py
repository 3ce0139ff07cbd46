"""Files of settings in the format of systemd's `EnvironmentFile=`, which a shell may read differently."""

import re
from pathlib import Path

from shared.errors import ConfigurationError

# As `parse_env_file_internal` of systemd: a value has quoted parts, then a plain part up to the end of the
# line; a backslash at the end continues the line. Spaces around parts are left out; nothing is expanded.
_QUOTED = r"""(?:'([^']*)'|"((?:[^"\\]|\\.)*)")[ \t\r]*"""
_ASSIGNMENT = re.compile(
    rf"""^[ \t]*(?P<name>[A-Za-z_]\w*)[ \t]*=[ \t]*
    (?P<quoted>(?:{_QUOTED})*)
    (?P<plain>(?:[^'"\s\\]|\\.)(?:[^\\\n]|\\.)*)?[ \t\r]*$""",
    re.MULTILINE | re.DOTALL | re.VERBOSE | re.ASCII,
)
_IGNORED = re.compile(r"\s*([#;].*)?")


def read_env_file(path: Path) -> dict[str, str]:
    """Read a file of settings; raise ConfigurationError if the file or one of its lines cannot be read."""
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8: save it as UTF-8") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    before, nul, _ = text.partition("\0")
    if nul:  # no variable can hold NUL
        number = before.count("\n") + 1
        raise ConfigurationError(f"{path}: line {number} holds NUL: remove this character")
    found, end = {}, 0
    for assignment in _ASSIGNMENT.finditer(text):
        _refuse_others(path, text, end, assignment.start())
        found[assignment["name"]] = _value(assignment)
        end = assignment.end()
    _refuse_others(path, text, end, len(text))
    return found


def _value(assignment: re.Match[str]) -> str:
    parts = []
    for single, double in re.findall(_QUOTED, assignment["quoted"], re.DOTALL):
        parts.append(single or re.sub(r'\\(?:\n|(["\\`$]))', lambda escape: escape[1] or "", double))
    plain = re.findall(r"\\.|[^\\]", assignment["plain"] or "", re.DOTALL)
    while plain and plain[-1] in {" ", "\t", "\r"}:  # an escaped space stays
        plain.pop()
    return "".join(parts + ["" if each in {"\\\n", "\\\r"} else each[-1] for each in plain])


def _refuse_others(path: Path, text: str, start: int, end: int) -> None:
    """Refuse lines that are neither an assignment nor a comment; systemd would ignore them silently."""
    for number, line in enumerate(text[start:end].split("\n"), start=text.count("\n", 0, start) + 1):
        if not _IGNORED.fullmatch(line):
            remedy = ": leave out `export`" if line.split()[0] == "export" else ""
            raise ConfigurationError(f"{path}: line {number} is not NAME=VALUE{remedy}")
