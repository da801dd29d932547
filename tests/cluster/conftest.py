"""Fixtures of the cluster tests: each file has a set of hosts of its own."""
import os
import sys

import pytest
from _pytest.runner import runtestprotocol

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


ATTEMPTS = 3


def hangs(report):
    return report.failed and "GuestHangs" in report.longreprtext


def pytest_runtest_protocol(item, nextitem):
    """As pytest does it, but a test whose guest hangs after a migration (guest.py, GuestHangs) is tried anew with another guest."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for attempt in range(1, ATTEMPTS + 1):
        if attempt > 1:
            print(f"{item.nodeid}: a guest hangs in the emulator, attempt {attempt}", file=sys.stderr)
            item._initrequest()
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        if not any(map(hangs, reports)):
            break
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
