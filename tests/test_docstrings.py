"""A list of modules in a package's docstring names exactly the modules that there are."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(path for top in ("napari_medvlsm", "training") for path in (ROOT / top).rglob("__init__.py"))
ENTRY = re.compile(r"^`(\w+)`  ", re.M)


def listed(package: Path) -> list[str]:
    """The names that the package's docstring lists, one at the beginning of a line with its description behind it."""
    return ENTRY.findall(ast.get_docstring(ast.parse(package.read_text("utf-8"))) or "")


def present(package: Path) -> set[str]:
    """Modules and packages in the package's folder; `__main__` starts it and needs no line."""
    modules = {path.stem for path in package.parent.glob("*.py") if not path.stem.startswith("__")}
    return modules | {path.parent.name for path in package.parent.glob("*/__init__.py")}


@pytest.mark.parametrize("package", [p for p in PACKAGES if listed(p)], ids=lambda p: p.parent.name)
def test_the_list_names_what_is_there(package):
    names = listed(package)
    assert len(names) == len(set(names)) and set(names) == present(package)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.parent.name)
def test_every_package_says_what_it_is(package):
    assert ast.get_docstring(ast.parse(package.read_text("utf-8")))


def test_lists_are_found():
    assert len([p for p in PACKAGES if listed(p)]) >= 5
