"""Fixtures of the cluster tests: each file has a set of hosts of its own, and each test ends with a look for leftovers."""
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))


@pytest.fixture(autouse=True)
def told_in_the_log(request):
    """So that the daemons' logs can be read beside the tests."""
    print(f"== {request.node.name}")
    yield
