/* The vCPUs as the guest itself has them on or off, through its agent. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct vq_qemu_guest;
struct vq_request;

/* VIR_DOMAIN_VCPU_GUEST: how many are on (is_maximum: how many there are), into *ret_n, a member of the request's reply; answers it. The
 * guest is one of vq_agent_guest_of(). */
void vq_guest_vcpus_count(struct vq_request *request, struct vq_qemu_guest *guest, bool is_maximum, int32_t *ret_n);
/* VIR_DOMAIN_VCPU_GUEST: so many are to be on; answers the request. */
void vq_guest_vcpus_set_count(struct vq_request *request, struct vq_qemu_guest *guest, uint32_t n);
