"""A guest's password is nowhere to be read but by whoever may ask for it."""
import ctypes
import ctypes.util
import pathlib

from daemons import wait_for

PASSWORD = "hush-7391-hush"
MORE = "more-8462-hush"
FRAME = bytes.fromhex("28b52ffd")        # a compressed definition begins so

zstd = ctypes.CDLL(ctypes.util.find_library("zstd") or "libzstd.so.1")
for function in (zstd.ZSTD_findFrameCompressedSize, zstd.ZSTD_decompress):
    function.restype = ctypes.c_size_t


def unpacked(content):
    """Whatever in a file can be unpacked."""
    at = content.find(FRAME)
    while at >= 0:
        rest = content[at:at + 65536]
        length = zstd.ZSTD_findFrameCompressedSize(rest, ctypes.c_size_t(len(rest)))
        text = ctypes.create_string_buffer(65536)
        size = zstd.ZSTD_decompress(text, ctypes.c_size_t(len(text)), rest, ctypes.c_size_t(min(length, len(rest))))
        if not zstd.ZSTD_isError(ctypes.c_size_t(size)):
            yield text.raw[:size]
        at = content.find(FRAME, at + 1)


def readable(lab):
    """All that whoever has the files of all nodes can read, with the file it is in."""
    for node in lab.nodes:
        for path in pathlib.Path(node.directory).rglob("*"):
            if path.is_file() and not path.is_symlink():
                content = path.read_bytes()
                yield path, content
                yield from ((path, text) for text in unpacked(content))


def define(node, name, password):
    path = node.directory / f"{name}.xml"
    path.write_text(f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>"
                    "<os><type arch='x86_64' machine='q35'>hvm</type></os>"
                    f"<devices><graphics type='vnc' port='-1' passwd='{password}'/></devices></domain>")
    node.virsh("define", str(path))
    path.unlink()                        # it is looked for in all files of the node


def holds_no_password(lab):
    for path, content in readable(lab):
        for password in (PASSWORD, MORE):
            assert password.encode() not in content, path


def shows(node, name, password):
    assert f"passwd='{password}'" in node.virsh("dumpxml", name, "--security-info")
    assert "passwd" not in node.virsh("dumpxml", name)
    assert "passwd" not in node.virsh("dumpxml", name, "--inactive")


def test_what_is_no_secret_is_found_where_passwords_are_looked_for(lab):
    node = lab.node()
    wait_for(lambda: node.status()["leader"] == "node1", 5, "a lone node to lead itself")
    define(node, "web", PASSWORD)
    node.define("plain")
    node.virsh("desc", "plain", "--config", "no secret of anybody, 5150")
    found = {path.parent.name for path, content in readable(lab) if b"<description>no secret of anybody, 5150<" in content}
    assert {"raft", "store"} <= found


def test_a_password_goes_through_a_guests_life_sealed(lab):
    node = lab.node()
    wait_for(lambda: node.status()["leader"] == "node1", 5, "a lone node to lead itself")
    define(node, "web", PASSWORD)
    shows(node, "web", PASSWORD)
    holds_no_password(lab)
    uuid = node.virsh("domuuid", "web")

    node.virsh("desc", "web", "--config", "--title", "a change of something else")
    node.virsh("domrename", "web", "shop")
    shows(node, "shop", PASSWORD)
    node.kill()
    node.start()
    wait_for(lambda: node.status()["leader"] == "node1", 10, "a leader after the restart")
    shows(node, "shop", PASSWORD)
    holds_no_password(lab)

    node.ask("init", "lab", "--advertise", node.address)
    shows(node, "shop", PASSWORD)

    path = node.directory / "again.xml"
    path.write_text(node.virsh("dumpxml", "shop", "--security-info").replace(PASSWORD, MORE))
    node.virsh("define", str(path))
    path.unlink()
    shows(node, "shop", MORE)
    assert node.virsh("domuuid", "shop") == uuid
    assert node.stop() == 0
    holds_no_password(lab)


def test_a_node_takes_guests_with_passwords_along(lab):
    first, second = lab.cluster(1)[0], lab.node()
    define(first, "web", PASSWORD)
    define(second, "mail", MORE)
    second.join(first.token())
    for node in (first, second):
        wait_for(lambda: node.guests() == ["mail", "web"], 10, f"both guests at {node.name}")
        shows(node, "web", PASSWORD)
        shows(node, "mail", MORE)
    lab.wait_for_equal_stores()
    holds_no_password(lab)
    second.kill()
    second.start()
    wait_for(lambda: second.status()["quorum"], 10, "quorum after the restart")
    shows(second, "web", PASSWORD)

    second.ask("leave", "--force")
    wait_for(lambda: second.status()["standalone"] and second.guests() == ["mail"], 10, "a lone node")
    shows(second, "mail", MORE)
    second.kill()
    second.start()
    wait_for(lambda: second.status()["leader"], 10, "a leader after the restart")
    shows(second, "mail", MORE)
    holds_no_password(lab)
