"""What the package imports is what pyproject.toml declares."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

from tests.paths import ROOT

OF_TFDS = {"array-record", "importlib-resources"}  # which does not declare them itself


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def imported():
    """The packages from outside that some file imports, wherever in it."""
    names = set()
    for path in [*ROOT.glob("symjax/**/*.py"), *ROOT.glob("configs/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"symjax", "configs"}


def test_what_is_imported_is_declared_and_nothing_else():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {
        canonical(re.match(r"[\w.-]+", requirement)[0])
        for requirement in project["dependencies"]
    }
    packages = packages_distributions()
    needed = {canonical(packages[name][0]) for name in imported()}
    assert declared == needed | OF_TFDS
