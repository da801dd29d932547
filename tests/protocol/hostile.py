"""What others were hurt by: clients that lie, leave, stall and ask for too much. Each part names what must hold."""
import os
import random
import socket
import stat
import struct
import sys
import time

import wire

REMOTE, QEMU = 0x20008086, 0x20008087
ERR_RPC, ERR_DENIED, ERR_NO_SUPPORT, ERR_INVALID_ARG = 39, 29, 3, 8


def sockets(daemon):
    """How many it holds; files come and go as the log goes on."""
    place = "/proc/%d/fd/" % daemon.process.pid
    held = 0
    for name in os.listdir(place):
        try:
            held += os.readlink(place + name).startswith("socket:")
        except OSError:
            pass  # closed in between
    return held


def memory_kib(daemon):
    with open("/proc/%d/status" % daemon.process.pid) as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def opened(daemon, name="libvirt-sock"):
    client = wire.Client(daemon.socket(name))
    assert client.open()[0] == 0
    return client


def every_number_is_answered(daemon):
    with opened(daemon) as client:
        for program in (REMOTE, QEMU, 0x68000):
            for number in [*range(454, 1200), -1, -2**31, 2**31 - 1]:
                status, reply = client.ask(program, number)
                assert status == 1 and wire.error_of(reply)[0] == ERR_RPC, (program, number)


def what_daemons_ask_each_other_is_served_to_no_client(daemon):
    procedures = wire.Schema().procedures("node")
    for name in ("libvirt-sock", "libvirt-sock-ro"):
        with opened(daemon, name) as client:
            for procedure in procedures:
                status, reply = client.ask(procedure.program, procedure.number, bytes(64))
                assert status == 1 and wire.error_of(reply)[0] == ERR_RPC, procedure.name
                assert wire.error_of(reply)[2].startswith("Cannot find program"), wire.error_of(reply)


def event_ids_are_taken_back_in_any_order(daemon):
    with opened(daemon) as client:
        ids = []
        for event in list(range(27)) * 2:
            status, reply = client.ask(REMOTE, 316, struct.pack(">iI", event, 0))
            assert status == 0, event
            ids.append(struct.unpack(">i", reply)[0])
        assert len(set(ids)) == len(ids)
        random.Random(1).shuffle(ids)
        for number in ids:
            assert client.ask(REMOTE, 317, struct.pack(">i", number))[0] == 0
            assert client.ask(REMOTE, 317, struct.pack(">i", number))[0] == 1


def leaving_in_the_middle_leaves_nothing_behind(daemon):
    before = sockets(daemon)
    for i in range(2000):
        client = wire.Client(daemon.socket())
        if i % 4 == 0:
            client.send(REMOTE, 60, struct.pack(">i", 10))  # keepalive is being set up
        elif i % 4 == 1:
            client.send(REMOTE, 1, struct.pack(">II", 1, 14) + b"qemu:///system\0\0" + bytes(4))
            client.send(REMOTE, 273, struct.pack(">iI", 1, 3))
        elif i % 4 == 2:
            client.socket.sendall(struct.pack(">I", 1000) + b"half a message")
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    deadline = time.monotonic() + 10
    while sockets(daemon) > before:
        assert time.monotonic() < deadline, "%d sockets are left" % (sockets(daemon) - before)
        time.sleep(0.05)


def negative_and_huge_counts_are_refused(daemon):
    with opened(daemon) as client:
        for number in (21, 37):  # list defined, list active
            for count in (-1, -2**31, 2**31 - 1, 16385):
                status, reply = client.ask(REMOTE, number, struct.pack(">i", count))
                assert status == 1 and wire.error_of(reply)[0] == ERR_RPC, (number, count)
        for first, count in ((-1, 1), (0, -1), (0, 0), (2**31 - 1, 1)):  # cells of free memory
            assert client.ask(REMOTE, 101, struct.pack(">ii", first, count))[0] == 1
        # 2**30 page sizes times 4 cells: the product must not wrap
        status, reply = client.ask(REMOTE, 340, struct.pack(">IiII", 2**30, 0, 4, 0))
        assert status == 1 and wire.error_of(reply)[0] == ERR_RPC


def a_length_that_is_not_there_costs_nothing(daemon):
    before = memory_kib(daemon)
    clients = [wire.Client(daemon.socket()) for _ in range(100)]
    for client in clients:  # a message of 32 MiB begins, and nothing comes
        client.socket.sendall(struct.pack(">IIIiIII", 33554432, REMOTE, 1, 11, 0, 0, 0))
    time.sleep(0.2)
    with opened(daemon) as client:
        assert client.ask(REMOTE, 157)[0] == 0  # the others are served
    assert memory_kib(daemon) < before + 100 * 1024, "memory was spent on what did not come"
    for client in clients:
        client.close()


def readers_are_refused_all_that_writes(daemon):
    schema = wire.Schema()
    with opened(daemon, "libvirt-sock-ro") as client:
        for program in ("remote", "qemu"):
            for procedure in schema.procedures(program):
                if procedure.is_event or procedure.readonly != "no":
                    continue
                status, reply = client.ask(procedure.program, procedure.number, b"")
                assert status == 1 and wire.error_of(reply)[0] == ERR_DENIED, procedure.name


def a_count_without_results_blocks_nobody(daemon):
    with opened(daemon) as client:
        for number in (273, 281, 283, 285, 287):
            client.ask(REMOTE, number, struct.pack(">iI", 0, 0))
        assert client.ask(REMOTE, 157)[0] == 0


def unknown_flags_are_refused(daemon):
    with opened(daemon) as client:
        status, reply = client.ask(REMOTE, 273, struct.pack(">iI", 1, 0x80000000))
        assert status == 1 and wire.error_of(reply)[0] == ERR_INVALID_ARG


def sockets_are_not_wider_than_they_should_be(daemon):
    for name, mode in (("libvirt-sock", 0o700), ("libvirt-sock-ro", 0o777), ("libvirt-admin-sock", 0o700)):
        assert stat.S_IMODE(os.stat(daemon.socket(name)).st_mode) == mode, name
    assert stat.S_IMODE(os.stat(os.path.join(daemon.dir, "state")).st_mode) == 0o700


def slow_clients_delay_nobody(daemon):
    slow = [opened(daemon) for _ in range(32)]
    for client in slow:
        for _ in range(2000):
            try:
                client.socket.settimeout(0.01)
                client.send(REMOTE, 273, struct.pack(">iI", 1, 0))
            except OSError:
                break  # its calls stay unread, as they should
    with opened(daemon) as client:
        begin = time.monotonic()
        for _ in range(100):
            assert client.ask(REMOTE, 157)[0] == 0
        assert time.monotonic() - begin < 5
    for client in slow:
        client.close()


PARTS = [every_number_is_answered, what_daemons_ask_each_other_is_served_to_no_client,
         event_ids_are_taken_back_in_any_order,
         leaving_in_the_middle_leaves_nothing_behind, negative_and_huge_counts_are_refused,
         a_length_that_is_not_there_costs_nothing, readers_are_refused_all_that_writes,
         a_count_without_results_blocks_nobody, unknown_flags_are_refused,
         sockets_are_not_wider_than_they_should_be, slow_clients_delay_nobody]


def main():
    with wire.Daemon() as daemon:
        for part in PARTS:
            print(part.__name__, flush=True)
            part(daemon)
            assert daemon.process.poll() is None, "the daemon has died: " + daemon.said()
    return 0


if __name__ == "__main__":
    sys.exit(main())
