/* Streams between clients and the pseudo terminals and channels of a guest. */
#pragma once

struct vq_qemu_guest;
struct vq_request;

/* domain_open_console, domain_open_channel. */
void vq_qemu_open_console(struct vq_request *request);
void vq_qemu_open_channel(struct vq_request *request);
/* The guest ends: all streams end. */
void vq_qemu_consoles_close(struct vq_qemu_guest *guest);
