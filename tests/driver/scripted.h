/* The driver under a fake host with one guest, "a1", whose QEMU (and agent) do what a script says: tests/fake_qemu. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "drivers/qemu/guest.h"
#include "tests/driver/fake_host.h"

extern struct vq_driver *const driver;
extern char emulator[128];
extern struct fake_domain *domain; /* NULL until define() */

int scripted_setup(void **state);
int scripted_teardown(void **state); /* ends the guest */

/* The script from now on: read with each connection of the monitor, and with each command to the agent. */
void use_script(const char *script);
/* With a disk, "vda" at 0:9.0, and perhaps with a channel for an agent. */
void define(bool has_channel);
/* Defined, running, with an agent that listens. */
void start(const char *script);
/* The daemon goes and comes back. */
void restart(void);

struct vq_qemu_guest *guest(void);
int call_with(const char *procedure, const void *args);
int call(const char *procedure); /* all arguments zero */
void must(const char *procedure);

/* For fake_host_until(). */
bool has_agent(void *data);
bool has_no_agent(void *data);
bool has_ended(void *data);
