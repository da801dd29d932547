#!/usr/bin/python3
"""End the test hosts whose test has been killed: sets called NAME-PID of which no process PID lives any more."""
import os
import pathlib
import re
import subprocess

SETS = pathlib.Path("/var/lib/virtquorum-demo")
DEMO = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "demo"


def main():
    for path in sorted(SETS.glob("*-*")) if SETS.exists() else []:
        match = re.fullmatch(r".+-(\d+)", path.name)
        if match and not os.path.exists(f"/proc/{match.group(1)}"):
            print(f"sweeping {path.name}, whose test has ended")
            subprocess.run([DEMO, "down"], env={**os.environ, "VQ_DEMO_NAME": path.name, "VQ_DEMO_DIR": str(path)}, check=False)


if __name__ == "__main__":
    main()
