#!/usr/bin/env python3
"""The names of all failure points, and which of them a run has reached.

    failpoints.py SOURCE HITS-FILE      exit code 1, and the names, if one was never reached
"""
import pathlib
import re
import sys

POINT = re.compile(r'VQ_FAILPOINT\("([^"]+)"\)')
FOLDERS = ("conf", "proto", "store", "raft", "drivers", "node")


def of_migration(name):
    """Reached only while a guest moves: tests/cluster/test_migrate_failpoints.py is about these."""
    return name.startswith("qemu.migrate.")


def of_saving(name):
    """Reached only while a guest is saved, restored or dumped: tests/cluster/test_save.py and tests/driver/save.c are about these."""
    return name.startswith(("qemu.save.", "qemu.restore."))


def names(source, wanted=lambda name: True):
    found = set()
    for folder in FOLDERS:
        for path in (pathlib.Path(source) / folder).rglob("*.c"):
            found |= set(POINT.findall(path.read_text(encoding="utf-8")))
    return sorted(filter(wanted, found))


def main(source, hits_file):
    hits = set(pathlib.Path(hits_file).read_text(encoding="utf-8").split()) if pathlib.Path(hits_file).exists() else set()
    every = names(source)
    missed = [name for name in every if name not in hits]
    for name in missed:
        print(f"never reached: {name}")
    print(f"{len(every) - len(missed)} of {len(every)} failure points were reached")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
