"""A small client of the libvirt protocol, out of the tables in proto/schema: for what a stock client would never send."""
import os
import signal
import socket
import struct
import subprocess
import tempfile
import time
import shutil

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCHEMA = os.path.join(ROOT, "proto", "schema")
CALL, REPLY, MESSAGE, STREAM = 0, 1, 2, 3
KEEPALIVE = 0x6B656570


class Procedure:
    def __init__(self, program, columns, cells):
        self.program = program
        for name, cell in zip(columns, cells):
            setattr(self, name, cell)
        self.number = int(self.number)
        self.is_event = self.kind == "event"


def fields_of(text):
    """name:type,... as pairs; '-' for none."""
    return [] if text == "-" else [tuple(field.split(":")) for field in text.split(",")]


class Schema:
    def __init__(self):
        self.structs = {}
        with open(os.path.join(SCHEMA, "types")) as lines:
            for line in lines:
                if line.strip() and not line.startswith("#"):
                    program, name, fields = line.split()
                    self.structs[program, name] = fields_of(fields)

    def procedures(self, program):
        number, columns, rows = None, None, []
        with open(os.path.join(SCHEMA, program + ".table")) as lines:
            for line in lines:
                words = line.split()
                if line.startswith("program"):
                    number = int(words[1], 0)
                elif line.startswith("columns"):
                    columns = words[1:]
                elif words and words[0].isdigit():
                    rows.append(Procedure(number, columns, words))
        return rows

    def plain(self, program, type_name):
        """The bytes of an empty value: 0, "", no elements, absent."""
        if type_name.endswith("?") or type_name.endswith("]") and not type_name.startswith("char["):
            return bytes(4)
        if type_name in ("i8", "u8", "u16", "i32", "u32", "str"):
            return bytes(4)
        if type_name in ("i64", "u64", "f64"):
            return bytes(8)
        if type_name == "uuid":
            return bytes(16)
        if type_name.startswith("char["):
            return bytes(4 * int(type_name[5:-1]))
        fields = self.structs.get((program, type_name)) or self.structs["remote", type_name]
        return b"".join(self.plain(program, kind) for _, kind in fields)

    def plain_args(self, program, procedure):
        return b"".join(self.plain(program, kind) for _, kind in fields_of(procedure.args))


class Ended(Exception):
    """The daemon has closed the connection."""


class Client:
    def __init__(self, path, timeout=10):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)  # blocking: with a time-out, a full queue would be an error at once
        self.socket.settimeout(timeout)
        self.serial = 0

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, program, procedure, payload=b"", kind=CALL, status=0, serial=None, version=1):
        if serial is None:
            serial, self.serial = self.serial, self.serial + 1
        self.socket.sendall(struct.pack(">IIIiIII", 28 + len(payload), program, version, procedure, kind, serial,
                                        status) + payload)
        return serial

    def read(self, size):
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise Ended
            data += part
        return data

    def receive(self):
        (length,) = struct.unpack(">I", self.read(4))
        frame = self.read(length - 4)
        program, version, procedure, kind, serial, status = struct.unpack(">IIiIII", frame[:24])
        return program, version, procedure, kind, serial, status, frame[24:]

    def ask(self, program, procedure, payload=b""):
        """(status, payload) of the reply; what else comes in between is left out."""
        serial = self.send(program, procedure, payload)
        while True:
            reply = self.receive()
            if reply[3] == REPLY and reply[4] == serial:
                assert reply[:3] == (program, 1, procedure), reply[:3]
                return reply[5], reply[6]

    def open(self, uri=b"qemu:///system", flags=0):
        padded = uri + bytes(-len(uri) % 4)
        return self.ask(0x20008086, 1, struct.pack(">II", 1, len(uri)) + padded + struct.pack(">I", flags))


def error_of(payload):
    """(code, domain, message) of an error reply."""
    code, domain, has_message = struct.unpack(">iiI", payload[:12])
    if not has_message:
        return code, domain, None
    (length,) = struct.unpack(">I", payload[12:16])
    return code, domain, payload[16:16 + length].decode()


class Daemon:
    """virtquorumd with all its directories below one of its own."""

    def __init__(self, *options):
        self.dir = tempfile.mkdtemp(prefix="vq-protocol-")
        self.log = os.path.join(self.dir, "log")
        for part in ("state", "run", "lrun", "lstate", "llog", "lconfig", "pki"):
            os.mkdir(os.path.join(self.dir, part))
        names = {"state-dir": "state", "run-dir": "run", "libvirt-run-dir": "lrun", "libvirt-state-dir": "lstate",
                 "libvirt-log-dir": "llog", "libvirt-config-dir": "lconfig", "pki-dir": "pki"}
        self.command = [os.environ["VQ_DAEMON"]]
        self.command += ["--%s=%s" % (option, os.path.join(self.dir, name)) for option, name in names.items()]
        config = os.path.join(self.dir, "config") # not the machine's own
        open(config, "w").close()
        self.command += ["--config=" + config, *options]
        self.process = None

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while True:
            assert self.process.poll() is None, "the daemon ended: " + self.said()
            try:
                Client(self.socket()).close()
                return self
            except OSError:
                assert time.monotonic() < deadline, "the daemon does not listen: " + self.said()
                time.sleep(0.02)

    def socket(self, name="libvirt-sock"):
        return os.path.join(self.dir, "lrun", name)

    def said(self):
        with open(self.log) as log:
            return log.read()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        assert code == 0, "the daemon ended with %d: %s" % (code, self.said())

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        try:
            if self.process.poll() is None:
                if kind is None:
                    self.stop()
                else:
                    self.process.kill()
                    self.process.wait()
        finally:
            if kind is None:
                shutil.rmtree(self.dir)
