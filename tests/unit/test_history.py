"""The checker of histories accepts what a cluster may do, and sees the planted faults."""
from history import ABSENT, OK, REFUSED, UNKNOWN, Call, History


def history(*calls, events=()):
    made = History()
    made.calls = [Call(*call) for call in calls]
    for event in events:
        made.event(*event)
    return made


A, B = ("uuid-a", 1), ("uuid-b", 1)


def test_an_ordinary_life_is_accepted():
    assert history(("c1", "define", "x", A, 1, 2, OK), ("c2", "read", "x", A, 3, 3, OK), ("c1", "undefine", "x", ABSENT, 4, 5, OK),
                   ("c1", "read", "x", ABSENT, 6, 6, OK, True)).check() == []


def test_a_lost_acknowledged_define_is_seen():
    """Planted: the leader answers before the entry is on a majority, and dies."""
    faults = history(("c1", "define", "x", A, 1, 2, OK), ("c2", "read", "x", ABSENT, 9, 9, OK, True)).check()
    assert len(faults) == 1 and "no order" in faults[0]


def test_two_winners_of_one_name_are_seen():
    """Planted: the name is checked when the change is proposed, and not again when it is applied."""
    faults = history(("c1", "define", "x", A, 1, 3, OK), ("c2", "define", "x", B, 2, 4, OK), ("c3", "read", "x", B, 9, 9, OK, True)).check()
    assert len(faults) == 1 and "no order" in faults[0]


def test_an_unanswered_define_may_have_happened_or_not():
    for seen in (A, ABSENT):
        assert history(("c1", "define", "x", A, 1, float("inf"), UNKNOWN), ("c2", "read", "x", seen, 9, 9, OK, True)).check() == []


def test_an_unanswered_define_cannot_undo_a_later_acknowledged_one_of_another_uuid():
    assert history(("c1", "define", "x", A, 1, float("inf"), UNKNOWN), ("c2", "define", "x", B, 5, 6, OK),
                   ("c3", "read", "x", A, 9, 9, OK, True)).check() != []


def test_a_refusal_needs_a_holder_of_the_name():
    assert history(("c1", "define", "x", A, 1, 2, REFUSED), ("c2", "read", "x", ABSENT, 9, 9, OK, True)).check() != []
    assert history(("c1", "define", "x", A, 1, 2, OK), ("c2", "define", "x", B, 3, 4, REFUSED),
                   ("c2", "read", "x", A, 9, 9, OK, True)).check() == []


def test_a_revived_undefined_domain_is_seen():
    assert history(("c1", "define", "x", A, 1, 2, OK), ("c1", "undefine", "x", ABSENT, 3, 4, OK), ("c2", "read", "x", A, 9, 9, OK, True)).check()


def test_a_client_that_does_not_read_its_own_write_is_seen():
    calls = [("c1", "define", "x", ("uuid-a", 1), 1, 2, OK), ("c1", "define", "x", ("uuid-a", 2), 3, 4, OK)]
    assert history(*calls, ("c1", "read", "x", ("uuid-a", 1), 5, 5, OK)).check()
    assert history(*calls, ("c2", "read", "x", ("uuid-a", 1), 5, 5, OK)).check() == []     # another node may lag


def test_a_value_out_of_nowhere_is_seen():
    assert history(("c1", "define", "x", A, 1, 2, OK), ("c2", "read", "x", ("uuid-a", 7), 3, 3, OK)).check()


def test_one_uuid_under_two_names_is_seen():
    assert history(("c1", "define", "x", A, 1, 2, OK), ("c1", "define", "y", A, 3, 4, OK), ("c1", "read", "x", A, 5, 5, OK, True),
                   ("c1", "read", "y", A, 5, 5, OK, True)).check()


def test_events_in_two_orders_are_seen():
    """Planted: a node tells of a state change before the entry in front of it."""
    good = [("n1", "u", "defined"), ("n1", "u", "started"), ("n1", "u", "stopped")]
    assert history(events=good + [("n2", *event[1:]) for event in good]).check() == []
    assert history(events=good + [("n2", "u", "defined"), ("n2", "u", "stopped"), ("n2", "u", "started")]).check()


def test_an_impossible_life_is_seen():
    assert history(events=[("n1", "u", "started"), ("n1", "u", "started")]).check()
    assert history(events=[("n1", "u", "undefined"), ("n1", "u", "stopped"), ("n1", "u", "suspended")]).check()


def test_long_histories_are_checked_quickly():
    calls = []
    for i in range(200):
        calls += [("c1", "define", "x", ("uuid-a", i), 4 * i, 4 * i + 3, OK), ("c2", "define", "x", ("uuid-a", 1000 + i), 4 * i + 1, 4 * i + 2, OK)]
    assert history(*calls, ("c1", "read", "x", ("uuid-a", 199), 9999, 9999, OK, True)).check() == []
