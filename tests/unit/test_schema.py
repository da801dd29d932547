"""The generator of the codec refuses a wrong table with its place, so that the build fails and not the daemon."""
import pathlib
import shutil
import subprocess
import sys

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]


def generate(schema, out):
    return subprocess.run([sys.executable, SOURCE / "proto/generate.py", schema, out], capture_output=True, text=True,
                          timeout=60, check=False)


@pytest.fixture
def schema(tmp_path):
    return pathlib.Path(shutil.copytree(SOURCE / "proto/schema", tmp_path / "schema"))


FAULTS = {
    "an empty cell": ("remote.table", " OWNER DOMAIN domain:start - ", " OWNER domain:start - ", "cells"),
    "a number left out": ("remote.table", "\n9 domain_create ", "\n10 domain_create ", "out of order"),
    "a procedure twice": ("remote.table", "\n9 domain_create ", "\n9 domain_destroy ", "there twice"),
    "an unknown type": ("types", "dom:domain,params", "dom:domian,params", "no type domian"),
    "a type in itself": ("types", "remote node_device name:str", "remote node_device name:node_device?", "contains itself"),
    "an array without bound": ("types", "str[DOMAIN_FSINFO_DISKS]", "str[]", "cannot read the field"),
    "an unknown bound": ("types", "str[DOMAIN_FSINFO_DISKS]", "str[NOBODY_KNOWS]", "no such bound"),
    "a field twice": ("types", "remote interface name:str,mac:str", "remote interface name:str,name:str", "is there twice"),
    "an unknown route": ("remote.table", " GATHER ", " GATHERED ", "bad route"),
    "a wrong object": ("remote.table", " OWNER DOMAIN domain:start - ", " OWNER NETWORK domain:start - ", "first argument"),
    "an unreadable rule": ("remote.table", " OWNER DOMAIN domain:start - ", " OWNER DOMAIN domain - ", "access rule"),
    "a rule on an argument that is not there": ("remote.table", "domain:write::source:", "domain:write::sauce:", "no number"),
    "a condition that is none": ("remote.table", "yes,but:source=", "maybe:source=", "bad readonly"),
    "a missing head": ("lock.table", "\nprogram ", "\n#program ", "no line 'program'"),
}


def test_the_tables_as_they_are_pass_and_are_not_written_twice(schema, tmp_path):
    out = tmp_path / "out"
    assert generate(schema, out).returncode == 0
    times = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert len(times) == 2 * len(list(schema.glob("*.table"))) + 1
    assert generate(schema, out).returncode == 0
    assert times == {path.name: path.stat().st_mtime_ns for path in out.iterdir()}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_refused(schema, tmp_path, fault):
    name, old, new, words = FAULTS[fault]
    text = (schema / name).read_text(encoding="utf-8")
    assert old in text
    (schema / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    result = generate(schema, tmp_path / "out")
    assert result.returncode != 0
    assert words in result.stderr and name in result.stderr, result.stderr
