/* Dumps of guests that nobody asked for: after a crash, or when a watchdog has barked. */
#pragma once

struct vq_qemu_guest;

/* A core file of the guest's memory into auto_dump_path. done is called once, at once or later, also when it failed; the guest is
 * there. One dump at a time on this node: the others wait. was_running: its CPUs go on afterwards. */
void vq_qemu_auto_dump(struct vq_qemu_guest *guest, void (*done)(struct vq_qemu_guest *guest));
void vq_qemu_auto_dumps_stop(void); /* the driver stops: nobody waits any more */
