/* What the daemon does for its drivers: struct vq_driver_host of drivers/driver.h. */
#pragma once

struct vq_daemon;

/* Fill in daemon->host. The functions that drivers call know their daemon from here: one daemon in a process. */
void vq_driver_host_init(struct vq_daemon *daemon);
