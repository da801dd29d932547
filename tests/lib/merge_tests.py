#!/usr/bin/env python3
"""Write one CTestTestfile.cmake over several build trees: merge_tests.py DIRECTORY PRESET...

Every tree registers the same tests. The tree of preset fuzz gives those labelled fuzz, and any other tree the rest.
"""
import json
import os
import subprocess
import sys


def quoted(text):
    return "[==[" + text + "]==]"


def tests_of(build):
    listing = subprocess.run(["ctest", "--test-dir", build, "--show-only=json-v1"], capture_output=True, text=True, check=True)
    for test in json.loads(listing.stdout)["tests"]:
        properties = {entry["name"]: entry["value"] for entry in test.get("properties", [])}
        yield test["name"], test.get("command"), properties


def property_text(value):
    if isinstance(value, list):
        return quoted(";".join(str(entry) for entry in value))
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    return quoted(str(value))


# ctest tells these in a form of its own that set_tests_properties() does not take.
SKIPPED_PROPERTIES = {"REQUIRED_FILES", "RESOURCE_GROUPS", "PASS_REGULAR_EXPRESSION", "FAIL_REGULAR_EXPRESSION"}


def lines_of(preset, build):
    for name, command, properties in tests_of(build):
        if ("fuzz" in properties.get("LABELS", [])) != (preset == "fuzz"):
            continue
        if command is None:
            raise SystemExit(f"test {name} of {build} has no program: was everything built?")
        yield f"add_test({quoted(name)} {' '.join(quoted(word) for word in command)})"
        for key, value in properties.items():
            if key not in SKIPPED_PROPERTIES:
                yield f"set_tests_properties({quoted(name)} PROPERTIES {key} {property_text(value)})"


def main(directory, presets):
    os.makedirs(directory, exist_ok=True)
    base = os.path.dirname(os.path.abspath(directory))
    with open(os.path.join(directory, "CTestTestfile.cmake"), "w", encoding="utf-8") as file:
        for preset in presets:
            for line in lines_of(preset, os.path.join(base, preset)):
                file.write(line + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
