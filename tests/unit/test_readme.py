"""What README and handbook say of the configuration is what the code reads."""

from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from shared.config import AdvancedSettings, Settings
from worker.flower import DEFAULTS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
HANDBOOK = (ROOT / "docs" / "operations.md").read_text()
FLOWER = {"BASIC_AUTH": "unset", "ADDRESS": "", "PORT": "`5555`"}
ADVANCED_OF_FLOWER = ("DB", "READ_ONLY")


def written(value: object) -> str:
    """Write a default as the README does."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value in {"", False, None}:
        return "unset"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def row(name: str, field: FieldInfo) -> str:
    default = "required" if field.is_required() else written(field.default)
    return f"| `{name.upper()}` | {default} | {field.description} |"


def test_the_readme_lists_every_setting_of_an_operator() -> None:
    operators = {
        name: each
        for name, each in Settings.model_fields.items()
        if name not in AdvancedSettings.model_fields
    }
    rows = [row(name, field) for name, field in operators.items()]
    for name, default in FLOWER.items():
        rows.append(f"| `FLOWER_{name}` | {default or written(DEFAULTS[f'FLOWER_{name}'])} | ")
    assert [each for each in rows if each not in README] == []
    assert README.count("\n| `") - README.count("\n| `study-ingest") == len(rows)


def test_operations_lists_every_advanced_setting() -> None:
    rows = [row(name, field) for name, field in AdvancedSettings.model_fields.items()]
    rows += [f"| `FLOWER_{name}` | {written(DEFAULTS[f'FLOWER_{name}'])} | " for name in ADVANCED_OF_FLOWER]
    assert [each for each in rows if each not in HANDBOOK] == []
