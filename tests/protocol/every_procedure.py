"""Every procedure, called with empty arguments on a connection of its own, is answered; the daemon lives on."""
import sys

import wire

ERR_NO_SUPPORT, ERR_RPC = 3, 39
TEMPLATE = "this function is not supported by the connection driver: "


# how: with empty arguments, with no arguments at all, on a connection without a hypervisor
def check(daemon, schema, program, procedure, how):
    """What is wrong with the answer, or None."""
    plain = how != "nothing" and not procedure.is_event
    payload = schema.plain_args(program, procedure) if plain else b""
    with wire.Client(daemon.socket("libvirt-admin-sock" if program == "admin" else "libvirt-sock")) as client:
        uri = b"network:///system" if how == "network" else b"qemu:///system"
        if program != "admin" and client.open(uri)[0] != 0:
            return "connect_open failed"
        if program == "admin" and procedure.number != 1 and client.ask(procedure.program, 1, bytes(4))[0] != 0:
            return "connect_open failed"
        status, reply = client.ask(procedure.program, procedure.number, payload)
        if how == "network" and procedure.object == "DOMAIN" and (status == 0 or
                                                                  wire.error_of(reply)[0] != ERR_NO_SUPPORT):
            return "a connection without a hypervisor has domains"
        if status == 0:
            return "an event was taken as a call" if procedure.is_event else None
        code, _, message = wire.error_of(reply)
        if code == 0 or not message:
            return "an error without code or text"
        if procedure.is_event and code != ERR_RPC:
            return "an event as a call gave code %d" % code
        if how == "nothing" and code != ERR_RPC and procedure.args != "-" and code != ERR_NO_SUPPORT:
            return "missing arguments gave code %d: %s" % (code, message)
        if code == ERR_NO_SUPPORT and message != TEMPLATE + procedure.api:
            return "not supported, but says: " + message
    return None


def main():
    schema = wire.Schema()
    wrong, calls = [], 0
    with wire.Daemon() as daemon:
        for program in ("remote", "qemu", "lxc", "admin"):
            for procedure in schema.procedures(program):
                for how in ("empty", "nothing", "network"):
                    calls += 1
                    try:
                        finding = check(daemon, schema, program, procedure, how)
                    except (wire.Ended, OSError, AssertionError) as error:
                        finding = "no answer: %r" % error
                    if finding is not None:
                        wrong.append("%s %d %s, %s: %s" % (program, procedure.number, procedure.name, how, finding))
        assert daemon.process.poll() is None, "the daemon has died: " + daemon.said()
        with wire.Client(daemon.socket()) as client:
            assert client.open()[0] == 0
    print("%d calls, %d wrong" % (calls, len(wrong)))
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
