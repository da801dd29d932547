#!/usr/bin/env python3
"""Hold every #include to the table of docs/architecture.md, and compile every header alone.

    layers.py includes SOURCE
    layers.py headers SOURCE COMPILER FLAG...

Prints one line for each fault and exits with 1 when there was one.
"""
import concurrent.futures
import os
import re
import subprocess
import sys

# Which files of the project a folder's files may include, as prefixes of the path. The longest folder wins.
PROJECT = {
    "conf/base": ["conf/base/"],
    "conf": ["conf/"],
    "proto": ["conf/base/", "proto/"],
    "store": ["conf/", "proto/cluster", "store/"],
    "raft": ["conf/base/", "proto/", "store/", "raft/"],
    "drivers": ["conf/", "proto/gen/", "proto/xdr.h", "proto/procedure.h", "proto/cluster.pb-c.h", "drivers/"],
    "node": ["conf/", "proto/", "store/", "raft/", "drivers/", "node/"],
    "tests": [""],
}

# Libraries by the headers they install, and the folders that may use them. What is named nowhere here is libc's.
LIBRARIES = {
    "uv.h": ["proto", "raft", "drivers", "node"],
    "gnutls/": ["proto", "raft", "node"],
    "protobuf-c/": ["proto", "store", "raft", "node"],
    "libxml/": ["conf"],
    "lmdb.h": ["store"],
    "raft.h": ["raft"],
    "raft/uv.h": ["raft"],
    "raft/fixture.h": [],
    "jansson.h": ["drivers", "node"],
    "libsmartcols": ["node"],
    "zstd.h": ["store", "raft", "drivers", "node"],
    "xxhash.h": ["conf/base", "conf", "store", "raft", "drivers", "node"],
}

# The codec knows no event loop: of proto, only the byte channels may see libuv and GnuTLS.
CHANNEL_FILES = re.compile(r"^proto/(channel|client|dial|tls|pki)[a-z_]*\.[ch]$")
CHANNEL_LIBRARIES = ("uv.h", "gnutls/")

# The headers that clients compile against: flags, enums and error numbers. Anything else of libvirt is not ours to use.
LIBVIRT_HEADERS = {"libvirt/libvirt.h", "libvirt/virterror.h", "libvirt/libvirt-qemu.h", "libvirt/libvirt-lxc.h",
                   "libvirt/libvirt-admin.h"}

# Made by the build; somebody who builds a single target does not have all of them.
GENERATED = re.compile(r"error: '?(proto/(?:gen/[a-z_./]+|cluster\.pb-c\.h))'?(?:: No such file| file not found)")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def sources(root, endings):
    for folder in ("conf", "proto", "store", "raft", "drivers", "node", "tests"):
        for path, _, files in os.walk(os.path.join(root, folder)):
            for name in sorted(files):
                if name.endswith(endings):
                    yield os.path.relpath(os.path.join(path, name), root)


def folder_of(path):
    found = [folder for folder in PROJECT if path.startswith(folder + "/")]
    return max(found, key=len) if found else None


def library_of(header):
    for prefix in LIBRARIES:
        if header == prefix or (prefix.endswith("/") and header.startswith(prefix)) or \
                (not prefix.endswith(".h") and header.startswith(prefix)):
            return prefix
    return None


def fault_of_project(path, folder, header):
    if any(header.startswith(prefix) for prefix in PROJECT[folder]):
        return None
    if "/" not in header:
        return f'"{header}" is not written from the root of the project'
    return f'{folder}/ may not include "{header}"'


def fault_of_library(path, folder, header):
    if header.startswith("libvirt/"):
        return None if header in LIBVIRT_HEADERS else f"<{header}> is not one of libvirt's public headers"
    library = library_of(header)
    if library is None or folder == "tests":
        return None
    if folder not in LIBRARIES[library]:
        return f"{folder}/ may not use <{header}>"
    if folder == "proto" and library in CHANNEL_LIBRARIES and not CHANNEL_FILES.match(path):
        return f"of proto/, only channel, client, dial, tls and pki may use <{header}>"
    return None


def check_file(root, path):
    folder = folder_of(path)
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            match = INCLUDE.match(line)
            if match is None:
                continue
            kind, header = match.groups()
            fault = (fault_of_project if kind == '"' else fault_of_library)(path, folder, header)
            # Tests may include anything, also files beside them.
            if fault is not None and folder != "tests":
                yield f"{path}:{number}: {fault}"


def check_includes(root):
    faults = [fault for path in sources(root, (".c", ".h")) for fault in check_file(root, path)]
    return faults


def compile_header(root, compiler, flags, header):
    # Twice, so that a missing guard shows as well; from standard input, so that it is not "the main file".
    text = f'#include "{header}"\n#include "{header}"\n'
    result = subprocess.run([*compiler.split(), *flags, "-fsyntax-only", "-x", "c", "-"], input=text, text=True,
                            capture_output=True, cwd=root, timeout=60, check=False)
    if result.returncode == 0:
        return None
    missing = GENERATED.search(result.stderr)
    if missing:
        print(f"{header} skipped: {missing.group(1)} has not been generated in this build")
        return None
    return f"{header} cannot be compiled alone:\n{result.stderr.rstrip()}"


def check_headers(root, compiler, flags):
    headers = [path for path in sources(root, (".h",)) if not path.startswith("tests/")]
    if not headers:
        return ["no header found: is the path of the sources right?"]
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        results = pool.map(lambda header: compile_header(root, compiler, flags, header), headers)
    return [fault for fault in results if fault is not None]


def self_test():
    """The checks must see what they are for; a table that allows everything would pass always."""
    must_fail = [("drivers/x.c", '"', "node/node.h"), ("drivers/x.c", '"', "store/store.h"), ("drivers/x.c", '"', "proto/channel.h"),
                 ("conf/x.c", '"', "proto/xdr.h"), ("conf/base/x.c", '"', "conf/domain.h"), ("store/x.c", '"', "raft/raft.h"),
                 ("proto/frame.c", "<", "uv.h"), ("conf/x.c", "<", "uv.h"), ("node/x.c", "<", "raft.h"),
                 ("node/x.c", "<", "libvirt/virnetwork.h"), ("node/x.c", '"', "session.h"), ("store/x.c", "<", "uv.h")]
    must_pass = [("node/x.c", '"', "raft/raft.h"), ("proto/channel.c", "<", "uv.h"), ("proto/tls_peer.c", "<", "gnutls/gnutls.h"),
                 ("drivers/qemu/x.c", '"', "conf/domain.h"), ("conf/x.c", "<", "libxml/tree.h"), ("conf/x.c", "<", "stdio.h"),
                 ("raft/x.c", "<", "raft/uv.h"), ("store/x.c", '"', "proto/cluster.pb-c.h"), ("node/x.c", "<", "libvirt/virterror.h")]
    for rows, expected in ((must_fail, True), (must_pass, False)):
        for path, kind, header in rows:
            check = fault_of_project if kind == '"' else fault_of_library
            found = check(path, folder_of(path), header) is not None
            if found != expected:
                yield f"self-test: {path} including {header} was {'refused' if found else 'allowed'}"


def main(arguments):
    if len(arguments) >= 2 and arguments[0] == "includes":
        faults = [*self_test(), *check_includes(arguments[1])]
    elif len(arguments) >= 3 and arguments[0] == "headers":
        faults = check_headers(arguments[1], arguments[2], arguments[3:])
    else:
        print(__doc__, file=sys.stderr)
        return 2
    for fault in faults:
        print(fault)
    print(f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
