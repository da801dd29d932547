"""Which procedures are served, beside what libvirtd 9.0 serves: the table, from the daemon as it runs.

served.tsv has one line for each procedure: program, name, whether libvirtd serves it (yes, no), and whether we do. The test
calls each procedure with empty arguments; the daemon that serves it finds fault with them, the other says "not supported". It
fails when something that is marked as served is not served any more, or when the tables have a procedure without a line.

    served.py                                the test
    VQ_SERVED_UPDATE=1 served.py             marks what is served now
    served.py --stock libvirt-sock           asks a libvirtd, and writes its column: once, on a host of its own
"""
import os
import sys

import wire

HERE = os.path.dirname(os.path.abspath(__file__))
FACTS = os.path.join(HERE, "served.tsv")
PROGRAMS = ("remote", "qemu", "admin")
ERR_NO_SUPPORT, ERR_RPC = 3, 39
CONNECTION = {"connect_open", "connect_close", "auth_list", "auth_sasl_init", "auth_sasl_start", "auth_sasl_step", "auth_polkit"}

# What a procedure is about, by its object and, where it has none, by words in its name.
GROUPS = [("domain", ("domain", "connect_list_domains", "connect_list_all_domains", "connect_list_defined_domains", "num_of_domains",
                      "defined_domains", "connect_get_all_domain_stats", "connect_domain")),
          ("snapshot and checkpoint", ("snapshot", "checkpoint")),
          ("network", ("network",)), ("interface", ("interface",)), ("storage", ("storage",)),
          ("node device", ("node_device", "node_list_devices", "node_num_of_devices")), ("secret", ("secret",)),
          ("network filter", ("nwfilter",)), ("host and connection", ("connect_", "node_", "auth_"))]


def group_of(program, name):
    if program != "remote":
        return program
    for needle in ("snapshot", "checkpoint"):
        if needle in name and name.startswith("domain"):
            return "snapshot and checkpoint"
    if name.startswith("domain") and name != "domain_lookup":
        return "domain"
    for group, needles in GROUPS[2:-1]:
        if any(needle in name for needle in needles):
            return group
    if any(needle in name for needle in GROUPS[0][1]):
        return "domain"
    return "host and connection"


def is_served(path, schema, program, procedure):
    """An answer other than "not supported". Nothing that is named exists, so nothing is done."""
    with wire.Client(path) as client:
        if program == "admin":
            status, _ = client.ask(procedure.program, 1, bytes(4)) if procedure.number != 1 else (0, b"")
        else:
            status, _ = client.open() if procedure.name not in CONNECTION else (0, b"")
        assert status == 0, "the connection was not opened"
        status, reply = client.ask(procedure.program, procedure.number, schema.plain_args(program, procedure))
        if status == 0:
            return True
        code, _, message = wire.error_of(reply)
        return code != ERR_NO_SUPPORT and not (code == ERR_RPC and message.startswith("unknown procedure"))


def ask_all(path, schema, program):
    """name -> is it served, in the order of the table."""
    socket = os.path.join(os.path.dirname(path), "libvirt-admin-sock") if program == "admin" else path
    answers = {}
    for procedure in schema.procedures(program):
        if not procedure.is_event:
            answers[procedure.name] = is_served(socket, schema, program, procedure)
    return answers


def read_facts():
    facts = {}
    if os.path.exists(FACTS):
        with open(FACTS) as lines:
            for line in lines:
                if not line.startswith("#"):
                    program, name, stock, ours = line.split()
                    facts[program, name] = [stock, ours]
    return facts


def write_facts(facts, schema):
    with open(FACTS, "w") as out:
        out.write("# program, procedure, served by libvirtd 9.0 for qemu:///system, served by us: see served.py\n")
        for program in PROGRAMS:
            for procedure in schema.procedures(program):
                if (program, procedure.name) in facts:
                    out.write("%s\t%s\t%s\t%s\n" % (program, procedure.name, *facts[program, procedure.name]))


def record_stock(path):
    schema, facts = wire.Schema(), read_facts()
    for program in PROGRAMS:
        for name, served in ask_all(path, schema, program).items():
            facts.setdefault((program, name), ["no", "no"])[0] = "yes" if served else "no"
    write_facts(facts, schema)


def print_table(facts, answers):
    """By group: how many of what libvirtd serves, and the names of those that are missing."""
    groups = {}
    for (program, name), (stock, _) in facts.items():
        groups.setdefault(group_of(program, name), []).append((name, stock == "yes", answers[program, name]))
    for group, rows in groups.items():
        owed = [row for row in rows if row[1]]
        missing = [name for name, _, ours in owed if not ours]
        beyond = [name for name, stock, ours in rows if ours and not stock]
        print("%-24s %3d of %3d that libvirtd serves%s" %
              (group, len(owed) - len(missing), len(owed), ", and beyond: " + " ".join(beyond) if beyond else ""))
        for name in missing:
            print("    NO_SUPPORT  " + name)


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--stock":
        record_stock(sys.argv[2])
        return 0
    schema, facts, answers = wire.Schema(), read_facts(), {}
    with wire.Daemon() as daemon:
        for program in PROGRAMS:
            for name, served in ask_all(daemon.socket(), schema, program).items():
                answers[program, name] = served
        assert daemon.process.poll() is None, "the daemon has died: " + daemon.said()
    wrong = ["%s %s has no line in served.tsv" % key for key in answers if key not in facts]
    wrong += ["%s %s was served, and is not any more" % key for key in facts if facts[key][1] == "yes" and not answers.get(key)]
    fresh = [key for key in facts if facts[key][1] == "no" and answers.get(key)]
    if os.environ.get("VQ_SERVED_UPDATE"):
        for key, served in answers.items():
            facts.setdefault(key, ["no", "no"])[1] = "yes" if served else "no"
        write_facts(facts, schema)
    print_table(facts, {key: answers.get(key, False) for key in facts})
    if fresh and not os.environ.get("VQ_SERVED_UPDATE"):
        print("served now, and not marked so (VQ_SERVED_UPDATE=1): " + " ".join(name for _, name in fresh))
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
