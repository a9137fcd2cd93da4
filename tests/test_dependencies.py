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


def imported(*folders):
    """The packages from outside that some file imports, wherever in it."""
    names = set()
    for path in (path for folder in folders for path in ROOT.glob(f"{folder}/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
    names -= sys.stdlib_module_names | {"symjax", "configs", "study"}
    packages = packages_distributions()
    return {canonical(packages[name][0]) for name in names}


def declared(requirements):
    return {canonical(re.match(r"[\w.-]+", each)[0]) for each in requirements}


def test_what_is_imported_is_declared_and_nothing_else():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = imported("symjax", "configs") | OF_TFDS
    assert declared(project["dependencies"]) == needed
    of_study = project["optional-dependencies"]["study"]
    assert declared(of_study) == imported("study") - needed
