"""What the README says of the configuration is what the code reads."""

from pathlib import Path

from pydantic import SecretStr

from shared.config import Settings

README = Path(__file__).resolve().parents[2] / "README.md"


def written(value: object) -> str:
    """Write a default as the README does."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value in ("", False):
        return "unset"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def row(name: str) -> str:
    field = Settings.model_fields[name]
    default = "required" if field.is_required() else written(field.default)
    return f"| `{name.upper()}` | {default} | {field.description} |"


def test_the_readme_tells_of_every_setting() -> None:
    text = README.read_text()
    rows = [row(name) for name in Settings.model_fields]
    assert [each for each in rows if each not in text] == []
    assert text.count("\n| `") - text.count("\n| `study-ingest") == len(rows)
