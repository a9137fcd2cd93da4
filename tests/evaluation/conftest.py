"""What the tests of evaluations share."""

import pytest

from symjax.evaluation import Run


@pytest.fixture(scope="session")
def run(trained):
    """The shared run, opened once, so that its programs are compiled once."""
    return Run.open(trained.folder)
