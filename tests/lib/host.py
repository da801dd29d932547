"""Test hosts from Python: a thin layer over deploy/demo.

    with Hosts("mine", 3) as hosts:
        hosts.virsh("node2", "list", "--all")
        connection = hosts.libvirt("node1")

Every set has a name of its own, so that tests do not share anything. Leaving the block ends the hosts and looks for what
they left behind.
"""
import json
import os
import pathlib
import re
import signal
import subprocess
import time
import uuid as uuids

SOURCE = pathlib.Path(__file__).resolve().parents[2]
DEMO = SOURCE / "deploy" / "demo"
GUEST = SOURCE / "deploy" / "guest"

SANITIZER_WORDS = re.compile(r"AddressSanitizer|LeakSanitizer|UndefinedBehaviorSanitizer|runtime error:|Assertion .* failed")


class CommandFailed(AssertionError):
    def __init__(self, command, result):
        super().__init__(f"{' '.join(map(str, command))}: exit code {result.returncode}\n{result.stdout}{result.stderr}")
        self.result = result


def wait_for(condition, seconds, what):
    """Ask until the answer is true, and return it. No test sleeps and hopes."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.05)


def run(command, timeout=60, check=True, **options):
    """subprocess.run() that ends the whole process group at the deadline: nsenter does not pass signals on."""
    options.setdefault("stdin", subprocess.DEVNULL)
    text = options.pop("input", None)
    if text is not None:
        options["stdin"] = subprocess.PIPE
    with subprocess.Popen([str(word) for word in command], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          start_new_session=True, **options) as process:
        try:
            out, err = process.communicate(text, timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            raise AssertionError(f"{' '.join(map(str, command))}: no end within {timeout} s\n{out}{err}") from None
    result = subprocess.CompletedProcess(command, process.returncode, out, err)
    if check and result.returncode != 0:
        raise CommandFailed(command, result)
    return result


class Hosts:
    def __init__(self, name, count=3, stock=False, build=None, environment=None, formed=True):
        self.name = f"{name}-{os.getpid()}"
        self.count = count
        self.stock = stock
        self.directory = pathlib.Path("/var/lib/virtquorum-demo") / self.name
        self.environment = dict(os.environ, VQ_DEMO_NAME=self.name, VQ_DEMO_DIR=str(self.directory), **(environment or {}))
        if build or os.environ.get("VQ_BUILD"):
            self.environment["VQ_BUILD"] = str(build or os.environ["VQ_BUILD"])
        if not formed:
            self.environment["VQ_DEMO_UNFORMED"] = "1"
        self.baseline = {}

    # --- life of the set

    @property
    def nodes(self):
        return [f"node{i}" for i in range(1, self.count + 1)]

    def __enter__(self):
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, kind, value, trace):
        import leftovers
        if kind is not None:
            print(self.logs())
        said = self.sanitizer_reports()
        marks = leftovers.marks_of(self)
        self.down()
        faults = leftovers.after_down(self, marks)
        if kind is None:
            assert not said, f"the daemons' logs tell of faults:\n{said}"
            assert not faults, "\n".join(faults)

    def demo(self, *arguments, timeout=60, check=True, **options):
        return run([DEMO, *arguments], timeout=timeout, check=check, env=self.environment, **options)

    def up(self, count=None):
        import leftovers
        self.count = count or self.count
        self.directory.mkdir(parents=True, exist_ok=True)
        # For sweep.py, should this test be killed: only a set with this mark is a test's.
        (self.directory / "test").write_text(f"{os.getpid()} {leftovers.start_time(os.getpid())}\n", encoding="ascii")
        self.demo("up", self.count, *(["--stock"] if self.stock else []), timeout=180)
        for node in self.nodes:
            self.baseline.setdefault(node, leftovers.look(self, node))

    def down(self):
        self.demo("down")

    def kill(self, node):
        self.demo("kill", node)

    def restart(self, node, environment=None):
        run([DEMO, "restart", node], env={**self.environment, **(environment or {})})

    def crash(self, node):
        """The host loses its power; up() brings it back."""
        self.demo("crash", node)

    def cut(self, node):
        self.demo("cut", node)

    def heal(self, *nodes):
        self.demo("heal", *nodes)

    # --- commands on a host

    def pid(self, node):
        """Of the host's first process, as this machine sees it."""
        return int((self.directory / node / "pid").read_text().split()[0])

    def daemon_pid(self, node):
        return int((self.directory / node / "daemon").read_text().split()[0])

    def command(self, node, *command):
        return ["nsenter", "-t", self.pid(node), "-m", "-n", "-u", "-p", "--", *command]

    def variables(self):
        build = (self.directory / "build").read_text().strip()
        return {**os.environ, "PATH": f"{build}/node:{os.environ['PATH']}", "HOME": "/root", "LC_ALL": "C.UTF-8",
                "LIBVIRT_DEFAULT_URI": "qemu:///system"}

    def exec(self, node, *command, timeout=60, check=True, input=None):
        return run(self.command(node, *command), timeout=timeout, check=check, input=input, env=self.variables())

    def popen(self, node, *command, **options):
        return subprocess.Popen([str(word) for word in self.command(node, *command)], text=True, start_new_session=True,
                                env=self.variables(), **options)

    def virsh(self, node, *arguments, uri="qemu:///system", **options):
        return self.exec(node, "virsh", "-q", "-c", uri, *arguments, **options).stdout.strip()

    def virtquorum(self, node, *arguments, **options):
        return self.exec(node, "virtquorum", *arguments, **options)

    def status(self, node):
        """What `virtquorum status -o json` says, whatever the exit code (4 says: no quorum)."""
        result = self.virtquorum(node, "status", "-o", "json", check=False, timeout=10)
        return json.loads(result.stdout)

    # --- libvirt in this process

    def uri(self, node, view=""):
        """The daemon's socket is reached through the host's root directory: no process has to be made for a call."""
        return f"qemu+unix:///system?{view + '&' if view else ''}socket=/proc/{self.pid(node)}/root/run/libvirt/libvirt-sock"

    def libvirt(self, node, view="", read_only=False):
        import libvirt
        libvirt.registerErrorHandler(lambda context, error: None, None)
        if read_only:
            return libvirt.openReadOnly(self.uri(node, view).replace("libvirt-sock", "libvirt-sock-ro"))
        return libvirt.open(self.uri(node, view))

    # --- what a failed test wants to see

    def logs(self, lines=40):
        texts = []
        for node in self.nodes:
            path = self.directory / node / "daemon.log"
            if path.exists():
                tail = path.read_text(errors="replace").splitlines()[-lines:]
                texts.append(f"--- {node}: end of {path}\n" + "\n".join(tail))
        return "\n".join(texts)

    def sanitizer_reports(self):
        reports = []
        for node in self.nodes:
            path = self.directory / node / "daemon.log"
            lines = path.read_text(errors="replace").splitlines() if path.exists() else []
            for number, line in enumerate(lines):
                if SANITIZER_WORDS.search(line):
                    reports.append(f"{node}: " + "\n    ".join(lines[number:number + 25]))
                    break
        return "\n".join(reports)


def guest_xml(name, uuid=None, **options):
    """A guest that boots. Its type is qemu: it must run on every machine."""
    command = [GUEST, "xml", name, "--type", options.pop("type", "qemu"), "--uuid", uuid or str(uuids.uuid4())]
    for key, value in options.items():
        command += [f"--{key}", value]
    return run(command).stdout


def small_xml(name, uuid=None, memory=64, description=""):
    """A definition that is never started: nothing but what every domain must have."""
    uuid = f"<uuid>{uuid}</uuid>" if uuid else ""
    description = f"<description>{description}</description>" if description else ""
    return (f"<domain type='qemu'><name>{name}</name>{uuid}{description}<memory unit='MiB'>{memory}</memory><vcpu>1</vcpu>"
            "<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>")
