"""Daemons on loopback, each a node of its own."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

BUILD = pathlib.Path(os.environ.get("VQ_BUILD", "build/dev"))
WAIT_S = 20


def wait_for(condition, timeout_s, what):
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.05)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Node:
    def __init__(self, directory, name):
        self.directory = directory / name
        self.directory.mkdir()
        self.name = name
        self.port = free_port()
        self.process = None

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self, failpoints="", environment=None, must_start=True):
        at = self.directory
        (at / "run" / "control").unlink(missing_ok=True)
        environment = dict(os.environ, VQ_FAILPOINTS=failpoints, **(environment or {}))
        with open(at / "log", "a") as log:
            self.process = subprocess.Popen(
                [BUILD / "node" / "virtquorumd", "--config=/dev/null", f"--state-dir={at}/state", f"--run-dir={at}/run",
                 f"--libvirt-run-dir={at}/libvirt-run", f"--libvirt-state-dir={at}/libvirt-state",
                 f"--libvirt-log-dir={at}/libvirt-log", f"--libvirt-config-dir={at}/libvirt-config", f"--pki-dir={at}/pki",
                 f"--node-name={self.name}", f"--cluster-port={self.port}", f"--tls-port={free_port()}"],
                stdout=log, stderr=log, env=environment)
        wait_for(lambda: (at / "run" / "control").exists() or self.process.poll() is not None, WAIT_S, f"{self.name} to start")
        assert not must_start or self.process.poll() is None, (at / "log").read_text()[-2000:]
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=WAIT_S)

    def ask(self, *arguments, code=0):
        """Run the tool; give what it printed on both outputs. code None: any exit code is fine, and is given too."""
        done = subprocess.run([BUILD / "node" / "virtquorum", f"--socket={self.directory}/run/control", *arguments],
                              capture_output=True, text=True, timeout=60)
        said = done.stdout + done.stderr
        if code is None:
            return done.returncode, said
        assert done.returncode == code, f"{self.name}: virtquorum {arguments}: exit code {done.returncode}, not {code}\n{said}"
        return said

    def status(self, *arguments):
        done = subprocess.run([BUILD / "node" / "virtquorum", f"--socket={self.directory}/run/control", "status", "-o", "json",
                               *arguments], capture_output=True, text=True, timeout=60)
        return json.loads(done.stdout) if done.stdout else {}

    def token(self, *arguments):
        return self.ask("token", *arguments).strip()

    def join(self, token, *arguments, code=0):
        return self.ask("join", token, "--advertise", self.address, *arguments, code=code)

    def virsh(self, *arguments, check=True):
        done = subprocess.run(["virsh", "-q", "-c", f"qemu+unix:///system?socket={self.directory}/libvirt-run/libvirt-sock",
                               *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout.strip() if check else (done.returncode, done.stderr.strip())

    def end_guests(self):
        """A guest outlives its daemon: one that was started by itself (autostart), too."""
        try:
            for name in self.virsh("list", "--name").split():
                self.virsh("destroy", name, check=False)
        except (AssertionError, subprocess.TimeoutExpired):
            pass        # a daemon that a test has made answer nothing

    def define(self, name):
        path = self.directory / f"{name}.xml"
        path.write_text(f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>"
                        "<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>")
        return self.virsh("define", str(path))

    def guests(self):
        return sorted(self.virsh("list", "--all", "--name").split())


class Lab:
    def __init__(self, directory):
        self.directory = directory
        self.nodes = []

    def node(self, failpoints=""):
        node = Node(self.directory, f"node{len(self.nodes) + 1}")
        self.nodes.append(node)
        return node.start(failpoints)

    def cluster(self, count):
        first = self.node()
        first.ask("init", "lab", "--advertise", first.address)
        for _ in range(count - 1):
            self.node().join(first.token())
        wait_for(lambda: self.voters() == (count if count % 2 else count - 1), WAIT_S, "the voters")
        return self.nodes

    def voters(self):
        return self.nodes[0].status().get("votersTotal")

    def leader(self):
        name = wait_for(lambda: next((node.status().get("leader") for node in self.nodes if node.process.poll() is None), None),
                        WAIT_S, "a leader")
        return next(node for node in self.nodes if node.name == name)

    def wait_for_equal_stores(self):
        def equal():
            said = [node.status("--local") for node in self.nodes if node.process.poll() is None]
            return len({(each["appliedIndex"], each["stateHash"]) for each in said}) == 1
        wait_for(equal, WAIT_S, "equal stores")

    def close(self):
        reports = ""
        for node in self.nodes:
            if node.process.poll() is None:
                node.end_guests()
                node.kill()
            log = (node.directory / "log").read_text(errors="replace")
            if "Sanitizer" in log or "runtime error" in log:
                reports += f"--- {node.name}\n{log[-4000:]}"
        assert not reports, reports
