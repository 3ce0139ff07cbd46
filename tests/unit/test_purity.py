"""The engine is pure: nothing but the standard library, fsrs and itself."""

import ast
import sys
from pathlib import Path

import pytest

import shared.study

NAMES = ["grading", "scheduling", "progress"]
PURE = {f"shared.study.{name}" for name in NAMES}
ALLOWED = sys.stdlib_module_names | {"fsrs"}


@pytest.mark.parametrize("name", NAMES)
def test_a_pure_module_imports_only_stdlib_and_fsrs(name: str) -> None:
    path = Path(shared.study.__path__[0]) / f"{name}.py"
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add("." * node.level + (node.module or ""))
    outside = {module for module in imported if module.partition(".")[0] not in ALLOWED}
    assert imported
    assert outside <= PURE
