#!/usr/bin/python3
"""End the test hosts whose test has been killed: sets whose mark names a process that does not live any more.

Hosts that a person made have no mark and are left alone, whatever they are called."""
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import leftovers  # noqa: E402  (its folder is known only now)

SETS = pathlib.Path("/var/lib/virtquorum-demo")
DEMO = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "demo"


def owner_lives(mark):
    pid, start = mark.read_text(encoding="ascii").split()
    return os.path.exists(f"/proc/{pid}") and str(leftovers.start_time(pid)) == start


def main():
    for mark in sorted(SETS.glob("*/test")) if SETS.exists() else []:
        if not owner_lives(mark):
            print(f"sweeping {mark.parent.name}, whose test has ended")
            subprocess.run([DEMO, "down"], check=False,
                           env={**os.environ, "VQ_DEMO_NAME": mark.parent.name, "VQ_DEMO_DIR": str(mark.parent)})


if __name__ == "__main__":
    main()
