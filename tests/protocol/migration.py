"""Migration as no stock client would drive it: phases out of order, cookies of somebody else, lists that are too long.
The codes are a stock daemon's; nothing may be left behind."""
import os
import re
import shutil
import socket
import struct
import sys
import time
import uuid as uuids

import wire

REMOTE = 0x20008086
DEFINE, LIST_ALL, UNDEFINE = 11, 273, 35
BEGIN3, PREPARE3, PERFORM3, FINISH3, CONFIRM3 = 213, 214, 216, 217, 218
BEGIN, PREPARE, TUNNEL, PERFORM, FINISH, CONFIRM = 302, 303, 304, 305, 306, 307
SET_SPEED, POST_COPY, FEATURE = 207, 364, 60
INT, ULLONG, STRING = 1, 4, 7
LIVE, P2P, TUNNELLED, DISK, INC, PROTECTION, OFFLINE, TLS, UNKNOWN = 1, 2, 4, 0x40, 0x80, 0x100, 0x400, 0x10000, 0x200000
ERR_INTERNAL, ERR_INVALID_ARG, ERR_XML, ERR_RPC, ERR_NO_DOMAIN, ERR_INVALID = 1, 8, 27, 39, 42, 55
ERR_UNSUPPORTED, ERR_OVERFLOW, ERR_FINISH_OK = 74, 82, 93

UUID = uuids.uuid4()
XML = """<domain type='qemu'><name>wanderer</name><uuid>%s</uuid><memory unit='MiB'>32</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>""" % UUID
COOKIE = """<qemu-migration><name>wanderer</name><uuid>%s</uuid><hostname>elsewhere</hostname>
<hostuuid>99999999-0000-0000-0000-000000000001</hostuuid></qemu-migration>\0""" % UUID


def text(value):
    value = value.encode() if isinstance(value, str) else value
    return struct.pack(">I", len(value)) + value + bytes(-len(value) % 4)


def maybe(value):
    return bytes(4) if value is None else struct.pack(">I", 1) + text(value)


def param(name, kind, value):
    packed = text(value) if kind == STRING else struct.pack({INT: ">i", ULLONG: ">Q"}[kind], value)
    return text(name) + struct.pack(">i", kind) + packed


def params(*triples):
    return struct.pack(">I", len(triples)) + b"".join(param(*triple) for triple in triples)


def u32(value):
    return struct.pack(">I", value)


def i32(value):
    return struct.pack(">i", value)


def domain(name="wanderer", uuid=UUID):
    return text(name) + uuid.bytes + i32(-1)


def xml_param(xml=XML):
    return ("destination_xml", STRING, xml)


def begin(flags=LIVE, *triples, uuid=UUID):
    return BEGIN, domain(uuid=uuid) + params(*triples) + u32(flags)


def prepare(cookie=COOKIE, *triples, flags=LIVE):
    return PREPARE, params(*(triples or [xml_param()])) + text(cookie) + u32(flags)


def perform(flags=LIVE, *triples, cookie=COOKIE, dconnuri=None):
    return PERFORM, domain() + maybe(dconnuri) + params(*triples) + text(cookie) + u32(flags)


def finish(cancelled, *triples, flags=LIVE, cookie=""):
    return FINISH, params(*(triples or [("destination_name", STRING, "wanderer")])) + text(cookie) + u32(flags) + i32(cancelled)


def confirm(cancelled, flags=LIVE, cookie=""):
    return CONFIRM, domain() + params() + text(cookie) + u32(flags) + i32(cancelled)


class Talk:
    """One connection; each question names the answer it must get."""

    def __init__(self, daemon):
        self.client = wire.Client(daemon.socket())
        assert self.client.open()[0] == 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()

    def gets(self, call, code, words=""):
        status, reply = self.client.ask(REMOTE, *call)
        found = wire.error_of(reply) if status else (0, 0, "")
        codes = code if isinstance(code, tuple) else (code,)
        assert found[0] in codes and re.search(words, found[2] or ""), (call[0], code, words, found)
        return reply


def text_at(data, at):
    (length,) = struct.unpack_from(">I", data, at)
    return data[at + 4:at + 4 + length], at + 4 + length + -length % 4


def defined(talk):
    talk.gets((DEFINE, text(XML)), 0)


def is_there(talk):
    reply = talk.gets((LIST_ALL, u32(1) + u32(0)), 0)
    return b"wanderer" in reply


def features_are_those_of_the_third_protocol(daemon):
    with Talk(daemon) as talk:
        for number in range(1, 20):
            found = struct.unpack(">i", talk.gets((FEATURE, i32(number)), 0))[0]
            if number in (1, 5):
                assert found == 0, number
            if number in (4, 6, 7, 11, 12, 13):
                assert found == 1, number


def phases_out_of_order_are_refused(daemon):
    with Talk(daemon) as talk:
        talk.gets(begin(), ERR_NO_DOMAIN)
        talk.gets(perform(LIVE, ("migrate_uri", STRING, "tcp:127.0.0.1:9")), ERR_NO_DOMAIN)
        talk.gets(confirm(0), ERR_NO_DOMAIN)
        talk.gets(finish(0), ERR_NO_DOMAIN, "wanderer")
        talk.gets(finish(1), (ERR_NO_DOMAIN, ERR_FINISH_OK))  # it is not there, as asked
        talk.gets(finish(1, ("bandwidth", ULLONG, 1)), ERR_NO_DOMAIN, "missing domain name")
        defined(talk)
        talk.gets(begin(), ERR_INVALID, "not running")
        talk.gets(begin(LIVE | PROTECTION), ERR_INVALID, "not running")
        talk.gets(perform(LIVE, ("migrate_uri", STRING, "tcp:127.0.0.1:9")), ERR_INVALID)
        talk.gets(confirm(0, cookie=COOKIE), (0, ERR_INVALID))
        talk.gets(confirm(1), (0, ERR_INVALID))
        assert is_there(talk)
        talk.gets((UNDEFINE, domain()), 0)


def flags_that_do_not_fit_are_refused(daemon):
    with Talk(daemon) as talk:
        defined(talk)
        for call in (begin(LIVE | UNKNOWN), prepare(flags=UNKNOWN), perform(UNKNOWN), finish(1, flags=UNKNOWN),
                     confirm(1, UNKNOWN)):
            talk.gets(call, ERR_INVALID_ARG, r"unsupported flags \(0x200000\)")
        talk.gets(begin(DISK | INC), ERR_INVALID_ARG, "mutually exclusive")
        talk.gets(begin(TUNNELLED), ERR_INVALID_ARG, "peer2peer")
        talk.gets(begin(OFFLINE), ERR_INVALID, "persistent flag")
        talk.gets(prepare(flags=P2P | TUNNELLED), ERR_INTERNAL, "invalid RPC method")
        talk.gets((TUNNEL, params(xml_param()) + text(COOKIE) + u32(LIVE)), ERR_INTERNAL, "no TUNNELLED flag")
        talk.gets(prepare(flags=LIVE | TLS), ERR_INVALID, "migrate_tls_x509_cert_dir")  # there are no certificates
        talk.gets(perform(LIVE, dconnuri="qemu+tls://elsewhere/system"), ERR_INTERNAL, "Unexpected dconnuri")
        talk.gets(perform(P2P, dconnuri="qemu+tls://elsewhere/system"), ERR_INVALID, "unexpected cookie")
        talk.gets((SET_SPEED, domain() + struct.pack(">QI", 1, 8)), ERR_INVALID_ARG, "unsupported flags")
        talk.gets((POST_COPY, domain() + u32(0)), ERR_INVALID)
        talk.gets((UNDEFINE, domain()), 0)


def parameters_are_checked_and_bounded(daemon):
    with Talk(daemon) as talk:
        defined(talk)
        talk.gets(begin(LIVE, ("no.such", INT, 1)), ERR_UNSUPPORTED, "'no.such' not supported")
        talk.gets(begin(LIVE, *[("bandwidth", ULLONG, 1)] * 2), ERR_INVALID_ARG, "multiple times")
        talk.gets(begin(LIVE, ("bandwidth", INT, 1)), ERR_INVALID_ARG, "expected 'ullong'")
        talk.gets(begin(LIVE, ("bandwidth", ULLONG, 2**64 - 1)), ERR_OVERFLOW)
        talk.gets(begin(LIVE, *[("migrate_disks", STRING, "vda")] * 64), ERR_INVALID)
        talk.gets(begin(LIVE, *[("migrate_disks", STRING, "vda")] * 65), ERR_RPC)
        talk.gets((BEGIN, domain() + u32(2**31) + u32(0)), ERR_RPC)
        talk.gets((BEGIN3, domain() + maybe(None) + struct.pack(">Q", 1 << 32) + maybe(None) + bytes(8)), ERR_INVALID_ARG)
        talk.gets((UNDEFINE, domain()), 0)


def cookies_are_not_believed(daemon):
    with Talk(daemon) as talk:
        for cookie, code, words in [
                (COOKIE[:-1], ERR_INTERNAL, "NULL terminated"),
                ("\0" + COOKIE, ERR_INTERNAL, "NULL terminated"),
                ("hello\0", ERR_XML, ""),
                ("<qemu-migration/>\0", ERR_INTERNAL, "missing name"),
                (COOKIE.replace("wanderer", "other"), ERR_INTERNAL, "unexpected name other vs wanderer"),
                (COOKIE.replace(str(UUID), str(uuids.uuid4())), ERR_INTERNAL, "unexpected UUID"),
                (COOKIE.replace("<hostname>", "<feature name='nosuch'/><hostname>"), ERR_INTERNAL, "Unknown .* feature"),
                ("<!DOCTYPE a [<!ENTITY x 'y'>]>" + COOKIE, ERR_XML, ""),
                ("<a>" * 100000 + "\0", ERR_XML, ""),
                ("x" * 4194305, ERR_RPC, "")]:
            talk.gets(prepare(cookie), code, words)
        talk.gets(prepare(COOKIE, ("bandwidth", ULLONG, 1)), ERR_INTERNAL, "no domain XML")
        talk.gets(prepare(COOKIE, xml_param("<domain/>")), ERR_XML)
        talk.gets(prepare(COOKIE, xml_param("")), ERR_XML)
        assert not is_there(talk)


def our_own_host_is_no_source(daemon):
    with Talk(daemon) as talk:
        defined(talk)
        reply = talk.gets(begin(OFFLINE | 8), 0)
        cookie, at = text_at(reply, 0)
        xml, _ = text_at(reply, at)
        assert b"<name>wanderer</name>" in xml and cookie.endswith(b"\0")
        talk.gets((UNDEFINE, domain()), 0)
        talk.gets(prepare(cookie, xml_param(xml), flags=OFFLINE | 8), ERR_INTERNAL, "same host")
        assert not is_there(talk)


def a_domain_that_is_off_comes_and_goes_with_its_definition(daemon):
    flags = OFFLINE | 8 | 16
    with Talk(daemon) as talk:
        talk.gets(prepare(COOKIE, xml_param(), flags=flags), 0)
        talk.gets(finish(1, xml_param(), ("destination_name", STRING, "wanderer"), flags=flags), ERR_FINISH_OK)
        assert not is_there(talk)
        talk.gets(finish(0, ("destination_name", STRING, "wanderer"), flags=flags), ERR_INTERNAL, "no domain XML")
        talk.gets(finish(0, xml_param(), ("destination_name", STRING, "wanderer"), flags=flags), 0)
        assert is_there(talk)
        talk.gets(prepare(COOKIE, xml_param(), flags=flags), ERR_INVALID, "already")
        # Only another host's word that it has it there undefines it here.
        talk.gets(confirm(1, flags, COOKIE), 0)
        talk.gets(confirm(0, flags), 0)
        talk.gets(confirm(0, flags, COOKIE.replace(str(UUID), str(uuids.uuid4()))), ERR_INTERNAL)
        assert is_there(talk)
        talk.gets(confirm(0, flags, COOKIE), 0)
        assert not is_there(talk)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def waiting_guests():
    """How many QEMU processes wait for the data of this test's guest."""
    found = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % name, "rb") as line:
                words = line.read()
        except OSError:
            continue
        found += str(UUID).encode() in words and b"-incoming" in words
    return found


def until(condition, what, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def a_guest_that_waits_is_cleared_away(daemon):
    if shutil.which("qemu-system-x86_64") is None:
        return
    here = [xml_param(), ("migrate_uri", STRING, "tcp:127.0.0.1:%d" % free_port())]
    with Talk(daemon) as talk:
        reply = talk.gets(prepare(COOKIE, *here), 0)
        assert reply.endswith(bytes(4)), "a URI that is the client's own is told back"
        assert waiting_guests() == 1
        talk.gets(prepare(COOKIE, *here), (9, ERR_INVALID))
        talk.gets(finish(1), ERR_FINISH_OK)
        until(lambda: waiting_guests() == 0, "QEMU waits on after the migration was cancelled")
        assert not is_there(talk)
        talk.gets(prepare(COOKIE, *here), 0)
    until(lambda: waiting_guests() == 0, "QEMU waits on after its client has left")
    with Talk(daemon) as talk:
        until(lambda: not is_there(talk), "the domain is still there after its client has left")
        uri = "tcp:127.0.0.1:%d" % free_port()
        reply = talk.gets((PREPARE3, text(COOKIE) + maybe(uri) + struct.pack(">Q", LIVE) + maybe(None) + bytes(8) + text(XML)), 0)
        assert reply.endswith(bytes(4))
        talk.gets((FINISH3, text("wanderer") + text("") + maybe(None) + maybe(uri) + struct.pack(">Qi", LIVE, 1)), ERR_FINISH_OK)
        until(lambda: waiting_guests() == 0, "QEMU waits on after the migration was cancelled")
        assert not is_there(talk)


def readers_may_not_migrate(daemon):
    with wire.Client(daemon.socket("libvirt-sock-ro")) as client:
        assert client.open(flags=1)[0] == 0
        for number, args in (begin(), prepare(), perform(), finish(1), confirm(1)):
            status, reply = client.ask(REMOTE, number, args)
            assert status == 1 and wire.error_of(reply)[0] == 29, (number, wire.error_of(reply))


PARTS = [features_are_those_of_the_third_protocol, phases_out_of_order_are_refused, flags_that_do_not_fit_are_refused,
         parameters_are_checked_and_bounded, cookies_are_not_believed, our_own_host_is_no_source,
         a_domain_that_is_off_comes_and_goes_with_its_definition, a_guest_that_waits_is_cleared_away, readers_may_not_migrate]


def main():
    with wire.Daemon() as daemon:
        for part in PARTS:
            part(daemon)
            assert daemon.process.poll() is None, daemon.said()
            print("ok", part.__name__, flush=True)
        run = os.path.join(daemon.dir, "lrun", "qemu")
        left = os.listdir(run) if os.path.isdir(run) else []
        assert not [name for name in left if "wanderer" in name], left
    return 0


if __name__ == "__main__":
    sys.exit(main())
