#!/usr/bin/env python3
"""Compare what built programs ask the loader for with the table of docs/dependencies.md.

    libraries.py DOCUMENT PROGRAM...
"""
import re
import subprocess
import sys

# Of the compiler and of sanitizers, not ours to list; ld-linux is libc's.
RUNTIME = re.compile(r"^(libasan|libubsan|libtsan|libgcc_s|libclang_rt|ld-linux).*|^libm\.so\.6$|^libpthread\.so\.0$")


def listed(document):
    with open(document, encoding="utf-8") as file:
        return set(re.findall(r"^\| `(lib[^`]+\.so[^`]*)` \|", file.read(), re.MULTILINE))


def needed(program):
    text = subprocess.run(["readelf", "-d", program], capture_output=True, text=True, check=True).stdout
    return {name for name in re.findall(r"\(NEEDED\).*\[(.+)\]", text) if not RUNTIME.match(name)}


def main(document, programs):
    names = {program: needed(program) for program in programs}
    faults = [f"{program} links {name}, which {document} does not tell of"
              for program, found in names.items() for name in sorted(found - listed(document))]
    faults += [f"{document} tells of {name}, which nothing links" for name in sorted(listed(document) - set().union(*names.values()))]
    print("\n".join(faults) or f"{len(listed(document))} libraries, as told")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
