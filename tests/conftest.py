"""Fixtures that several test files share."""

import pytest
from file_server import serve

pytest.register_assert_rewrite("check_suite", "golden_weights")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("slow"):  # on a machine with other work it may take long
            item.add_marker(pytest.mark.timeout(1200))


@pytest.fixture
def server(monkeypatch):
    """A local web server, with no files so far."""
    monkeypatch.setenv("no_proxy", "*")
    with serve() as running:
        yield running
