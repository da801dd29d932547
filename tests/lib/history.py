"""What clients were told, and whether one cluster can have told it.

A History records every call of a run with its begin, end and outcome, what was read, and the events of each listener.
check() returns the list of contradictions:

- each name is a register: there must be an order of the writes, in keeping with real time, in which every outcome is
  right, nothing acknowledged is lost, and a name never has two UUIDs;
- a read shows a value that somebody had begun to write, never one older than what the same client has seen or written;
- a UUID has one name in whatever is read at the end;
- all listeners see the events of a domain in the same order, and the order is one that a domain can live through.
"""
import dataclasses
import itertools
import threading
import time

OK, REFUSED, UNKNOWN = "ok", "refused", "unknown"   # unknown: no answer, so it may have happened, also later
ABSENT = None


@dataclasses.dataclass
class Call:
    client: str
    verb: str               # define undefine read
    name: str
    value: object           # define: (uuid, revision); read: what was seen, ABSENT for no such domain
    begin: float
    end: float = float("inf")
    outcome: str = UNKNOWN
    is_final: bool = False  # a read after everything had settled: it must show the very last value


@dataclasses.dataclass
class Event:
    listener: str
    domain: str             # UUID
    kind: str               # defined undefined started stopped suspended resumed


class History:
    def __init__(self):
        self.calls = []
        self.events = []
        self.lock = threading.Lock()

    def begin(self, client, verb, name, value=ABSENT):
        call = Call(client, verb, name, value, time.monotonic())
        with self.lock:
            self.calls.append(call)
        return call

    @staticmethod
    def end(call, outcome, value=None):
        if call.verb == "read":
            call.value = value
        # The outcome last: a call without an end counts as unknown whatever else is known of it.
        call.end = time.monotonic() if outcome != UNKNOWN else float("inf")
        call.outcome = outcome

    def saw(self, client, name, value, is_final=False):
        """A read that needs no begin of its own."""
        now = time.monotonic()
        with self.lock:
            self.calls.append(Call(client, "read", name, value, now, now, OK, is_final))

    def event(self, listener, domain, kind):
        with self.lock:
            self.events.append(Event(listener, domain, kind))

    def check(self):
        faults = []
        for name in sorted({call.name for call in self.calls}):
            faults += check_register(name, [call for call in self.calls if call.name == name])
        faults += check_unique_uuids(self.calls)
        faults += check_events(self.events)
        return faults


# --- one name as a register ------------------------------------------------------------------------------------------

IMPOSSIBLE = object()


def step(state, call):
    """The state after a call, or IMPOSSIBLE if it cannot have had this outcome in this state."""
    if call.verb == "define":
        can = state is ABSENT or state[0] == call.value[0]      # the same UUID redefines; another one clashes
        if call.outcome == REFUSED:
            return IMPOSSIBLE if can else state
        return call.value if can else (IMPOSSIBLE if call.outcome == OK else state)
    if call.verb == "undefine":
        if call.outcome == REFUSED:
            return IMPOSSIBLE if state is not ABSENT else state
        return ABSENT if state is not ABSENT else (IMPOSSIBLE if call.outcome == OK else state)
    return state if state == call.value else IMPOSSIBLE         # a final read


def linearize(calls):
    """True if some order of the calls, in keeping with real time, explains all outcomes."""
    calls = sorted(calls, key=lambda call: call.begin)
    every = (1 << len(calls)) - 1
    optional = sum(1 << i for i, call in enumerate(calls) if call.outcome == UNKNOWN)
    stack, seen = [(0, ABSENT)], set()
    while stack:
        done, state = stack.pop()
        if (done | optional) == every:
            return True
        if (done, state) in seen:
            continue
        seen.add((done, state))
        # A call may come next if no other one, still to come, ended before it began.
        horizon = min((call.end for i, call in enumerate(calls) if not done >> i & 1), default=float("inf"))
        for i, call in enumerate(calls):
            if call.begin > horizon:
                break
            if done >> i & 1:
                continue
            after = step(state, call)
            if after is not IMPOSSIBLE:
                stack.append((done | 1 << i, after))
    return False


def told(call):
    end = "never" if call.end == float("inf") else f"{call.end:.3f}"
    return f"{call.client} {call.verb} {call.name} {call.value} {call.begin:.3f}..{end} {call.outcome}"


def check_register(name, calls):
    faults = []
    writes = [call for call in calls if call.verb != "read"]
    ordered = [call for call in calls if call.verb != "read" or call.is_final]
    if not linearize(ordered):
        faults.append(f"'{name}': no order of these calls explains their outcomes:\n    " +
                      "\n    ".join(told(call) for call in sorted(ordered, key=lambda call: call.begin)))
    for read in calls:
        if read.verb == "read" and not read.is_final and read.outcome == OK:
            faults += check_read(name, read, writes, calls)
    return faults


def wrote(write):
    return write.value if write.verb == "define" else ABSENT


def check_read(name, read, writes, calls):
    sources = [write for write in writes if wrote(write) == read.value and write.begin <= read.end and write.outcome != REFUSED]
    if not sources and read.value is not ABSENT:
        return [f"'{name}': {told(read)}: nobody had written that"]
    # Read your writes: what this client was told before the read began must not be older than its own last write.
    mine = [write for write in writes if write.client == read.client and write.outcome == OK and write.end <= read.begin]
    if not mine:
        return []
    last = max(mine, key=lambda write: write.end)
    if wrote(last) == read.value or any(source.end >= last.begin for source in sources):
        return []
    return [f"'{name}': {told(read)}: older than the same client's {told(last)}"]


def check_unique_uuids(calls):
    faults, names = [], {}
    for call in calls:
        if call.verb == "read" and call.is_final and call.value is not ABSENT:
            names.setdefault(call.value[0], set()).add(call.name)
    for uuid, found in sorted(names.items()):
        if len(found) > 1:
            faults.append(f"UUID {uuid} has the names {', '.join(sorted(found))}")
    return faults


# --- events ----------------------------------------------------------------------------------------------------------

# A transient domain starts without having been defined; a redefinition of a running one says "defined" again. libvirtd
# tells "resumed" in front of "started" when a guest begins to run.
MOVES = {
    "nothing": {"defined": "off", "resumed": "nothing", "started": "on"},
    "off": {"defined": "off", "resumed": "off", "started": "on", "undefined": "nothing"},
    "on": {"defined": "on", "undefined": "on", "resumed": "on", "stopped": "off", "suspended": "paused"},
    "paused": {"defined": "paused", "undefined": "paused", "resumed": "on", "stopped": "off"},
}


def check_events(events):
    faults = []
    sequences = {}
    for event in events:
        sequences.setdefault(event.domain, {}).setdefault(event.listener, []).append(event.kind)
    for domain, listeners in sorted(sequences.items()):
        for listener, kinds in sorted(listeners.items()):
            fault = check_life(kinds)
            if fault:
                faults.append(f"{listener} was told of {domain}: {' '.join(kinds)}: {fault}")
        for (one, left), (other, right) in itertools.combinations(sorted(listeners.items()), 2):
            if left != right:
                same = next((i for i, (a, b) in enumerate(zip(left, right)) if a != b), min(len(left), len(right)))
                faults.append(f"events of {domain}: after {same} equal ones {one} saw {' '.join(left[same:same + 5])} ...; "
                              f"{other} saw {' '.join(right[same:same + 5])} ...")
    return faults


def check_life(kinds):
    states = {"nothing", "off", "on", "paused"}     # a listener may have come late
    for kind in kinds:
        states = {MOVES[state][kind] for state in states if kind in MOVES[state]}
        if kind == "stopped":
            states |= {"nothing"}                   # a transient domain is gone then
        if not states:
            return f"'{kind}' cannot follow"
    return None
