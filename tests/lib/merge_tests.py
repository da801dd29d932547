#!/usr/bin/env python3
"""Write one CTestTestfile.cmake over several build trees: merge_tests.py [--hits FILE] DIRECTORY PRESET...

Every tree registers the same tests. The tree of preset fuzz gives those labelled fuzz, and any other tree the rest.
--hits adds a last test: every failure point of the sources has been reached by the tests before it, as FILE tells.
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


def hits_test(hits, names):
    checker = os.path.join(os.path.dirname(os.path.abspath(__file__)), "failpoints.py")
    source = os.path.dirname(os.path.dirname(os.path.dirname(checker)))
    yield f"add_test(proof/failpoints {quoted(sys.executable)} {quoted(checker)} {quoted(source)} {quoted(hits)})"
    yield f"set_tests_properties(proof/failpoints PROPERTIES LABELS proof DEPENDS {quoted(';'.join(names))})"


def main(arguments):
    hits = None
    if arguments[0] == "--hits":
        hits, arguments = os.path.abspath(arguments[1]), arguments[2:]
    directory, presets = arguments[0], arguments[1:]
    os.makedirs(directory, exist_ok=True)
    base = os.path.dirname(os.path.abspath(directory))
    lines = [line for preset in presets for line in lines_of(preset, os.path.join(base, preset))]
    if hits is not None:
        names = [name for preset in presets for name, _, _ in tests_of(os.path.join(base, preset))]
        lines += hits_test(hits, sorted(set(names)))
    with open(os.path.join(directory, "CTestTestfile.cmake"), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
