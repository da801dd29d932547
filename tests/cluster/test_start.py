"""What a node shows and says from its first moment, after its daemon or its host was killed."""
import pytest

from client import definitions
from host import Hosts, small_xml, wait_for

NAMES = {f"kept{i}" for i in range(30)}


@pytest.fixture
def lone():
    with Hosts("start", 1, formed=False) as made:
        connection = made.libvirt("node1")
        for name in NAMES:
            connection.defineXML(small_xml(name))
        connection.close()
        yield made


def shown(hosts):
    connection = hosts.libvirt("node1")
    try:
        return set(definitions(connection))
    finally:
        connection.close()


def wait_until_healthy(hosts):
    """Until `status` exits with 0; what it says before that is no lost quorum."""
    def is_healthy():
        result = hosts.virtquorum("node1", "status", check=False)
        if result.returncode == 0:
            assert "starting" not in result.stdout
            return True
        assert result.returncode == 4 and "is starting" in result.stdout and "no quorum" not in result.stdout.lower()
        return False
    wait_for(is_healthy, 10, "a leader of a lone node")


def test_a_killed_daemon_shows_everything_with_its_first_answer(lone):
    for _ in range(3):
        lone.kill("node1")
        lone.restart("node1")
        assert shown(lone) == NAMES
        wait_until_healthy(lone)


def test_a_store_that_a_crash_of_the_host_made_doubtful_is_filled_from_the_log(lone):
    mark = lone.directory / "node1/var/lib/virtquorum/store/boot"
    lone.kill("node1")
    mark.write_text(mark.read_text().replace(" flushed ", " unflushed "))
    lone.crash("node1")
    lone.up()
    wait_until_healthy(lone)
    wait_for(lambda: shown(lone) == NAMES, 10, "the definitions")
    assert list(mark.parent.glob("before-*"))
    connection = lone.libvirt("node1")
    connection.defineXML(small_xml("later"))
    connection.close()
    assert shown(lone) == NAMES | {"later"}
