"""The checker of the counting guest sees what it must: a run that checks nothing passes always."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import guest  # noqa: E402  (its folder has only now become known)

A, B = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"


def records(*pairs):
    return [(epoch, count, f"{i:016x}") for i, (epoch, count) in enumerate(pairs)]


def disk(tmp_path, sectors):
    path = tmp_path / "disk.img"
    path.write_bytes(b"".join(sector.encode().ljust(guest.SECTOR, b"\0") for sector in ["", *sectors]) + bytes(8 * guest.SECTOR))
    return path


def test_counts_in_order_are_right(tmp_path):
    path = disk(tmp_path, [f"{A} {i} {i:016x}\n" for i in range(1, 6)])
    found, faults = guest.read_disk(path)
    assert len(found) == 5 and faults == [] and guest.check_records(found) == []


def test_an_empty_disk_is_right(tmp_path):
    assert guest.read_disk(disk(tmp_path, [])) == ([], [])


def test_a_second_boot_is_right_only_when_it_is_expected():
    found = records((A, 1), (A, 2), (B, 1))
    assert guest.check_records(found, boots=2) == []
    assert len(guest.check_records(found)) == 1


def test_a_doubled_count_is_seen():
    assert guest.check_records(records((A, 1), (A, 2), (A, 2), (A, 3)))


def test_a_skipped_count_is_seen():
    assert guest.check_records(records((A, 1), (A, 3)))


def test_a_boot_that_does_not_begin_with_one_is_seen():
    assert guest.check_records(records((A, 2), (A, 3)))


def test_two_epochs_in_turns_are_seen():
    assert any("two copies" in fault for fault in guest.check_records(records((A, 1), (B, 1), (A, 2), (B, 2)), boots=2))


def test_a_hole_is_seen(tmp_path):
    _, faults = guest.read_disk(disk(tmp_path, [f"{A} 1 1\n", "", f"{A} 2 2\n"]))
    assert len(faults) == 1 and "lost" in faults[0]


def test_garbage_and_what_the_guest_told_are_seen(tmp_path):
    path = disk(tmp_path, [f"{A} 1 1\n", "garbage"])
    with open(path, "r+b") as file:
        file.write(b"sector 7 is taken")
    _, faults = guest.read_disk(path)
    assert len(faults) == 2 and "taken" in faults[0]


def test_a_count_that_was_sent_twice_is_seen():
    written = records((A, 1), (A, 2))
    heard = [(0.1, *written[0]), (0.2, *written[1]), (0.3, A, 2, "f" * 16)]
    assert any("two copies" in fault for fault in guest.check_heard(heard, written))
    assert guest.check_heard(heard[:2], written) == []


def test_a_count_that_was_sent_and_never_written_is_seen():
    written = records((A, 1))
    assert guest.check_heard([(0.1, *written[0]), (0.2, A, 2, "f" * 16)], written)
