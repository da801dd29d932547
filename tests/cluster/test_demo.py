"""deploy/demo without arguments: what somebody sees who has only read the README."""
import re

import leftovers
from host import DEMO, Hosts, run


def test_the_demonstration_shows_a_guest_in_user_space_and_takes_itself_away():
    hosts = Hosts("demonstration", 3)
    try:
        said = run([DEMO], timeout=290, env=hosts.environment)
        text = said.stdout + said.stderr
        assert re.search(r"\d+\s+web1\s+running", text), text           # virsh list --all, through node3
        assert re.search(r"user space reached|/ #", text), text         # the console, through node3
        assert "deploy/demo down" in text                               # what to do next
        status = hosts.demo("status").stdout
        assert all(node in status for node in hosts.nodes) and "virtquorumd" in status
        again = run([DEMO], timeout=290, env=hosts.environment)         # a second time is no mistake
        assert re.search(r"\d+\s+web1\s+running", again.stdout + again.stderr)
        marks = leftovers.marks_of(hosts)
    finally:
        hosts.down()
    assert leftovers.after_down(hosts, marks) == []
