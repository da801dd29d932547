"""Fixtures of the cluster tests: each file has a set of hosts of its own."""
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

from host import Hosts  # noqa: E402  (its folder has only now become known)


@pytest.fixture(scope="module")
def hosts(request):
    """Three hosts for all tests of a file. VQ_STOCK=1 has libvirtd on them, to compare what it answers."""
    name = request.module.__name__.replace("test_", "")
    with Hosts(name, stock=bool(os.environ.get("VQ_STOCK"))) as made:
        yield made


@pytest.fixture
def fresh_hosts(request):
    """Three hosts for one test: for tests that kill."""
    name = request.module.__name__.replace("test_", "")
    with Hosts(f"{name}-{request.node.name[-12:]}", 3) as made:
        yield made
