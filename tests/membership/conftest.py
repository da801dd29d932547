"""A lab for each test: daemons in a directory of its own."""
import os
import shutil
import sys
import tempfile
import pathlib

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from daemons import Lab  # noqa: E402  (its folder has only now become known)


@pytest.fixture
def lab():
    # Paths of sockets are short, pytest's own directories are long.
    directory = pathlib.Path(tempfile.mkdtemp(prefix="vqlab"))
    made = Lab(directory)
    try:
        yield made
        made.close()
    finally:
        for node in made.nodes:
            if node.process is not None and node.process.poll() is None:
                node.kill()
        shutil.rmtree(directory, ignore_errors=True)
