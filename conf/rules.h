/* How rules are written: a line says what must not be, the code and the words. Inside conf/rules_*.c only. */
#pragma once

#include "conf/base/text.h"
#include "conf/domain_rules.h"

/* In a function with an argument err that returns -1 for what is refused. */
#define REFUSE_IF(condition, code, ...)                     \
    do {                                                    \
        if (condition)                                      \
            return vq_error_set(err, VIR_ERR_##code, __VA_ARGS__); \
    } while (0)
/* The same with the part of libvirt that would say it. */
#define REFUSE_FROM_IF(condition, from, code, ...)                           \
    do {                                                                     \
        if (condition)                                                       \
            return vq_error_set_from(err, VIR_FROM_##from, VIR_ERR_##code, __VA_ARGS__); \
    } while (0)

/* "(null)" would be no help. */
static inline const char *vq_rule_text(const char *text)
{
    return text != NULL ? text : "";
}

/* Rules of one thing each: 0, or -1 with err set. */
int vq_check_auth(const struct vq_auth *auth, struct vq_error *err);
int vq_check_host(const struct vq_source_host *host, struct vq_error *err);
int vq_check_source(const struct vq_source *source, struct vq_error *err);
int vq_check_disk(const struct vq_disk *disk, struct vq_error *err);
int vq_check_filesystem(const struct vq_filesystem *filesystem, struct vq_error *err);
int vq_check_interface(const struct vq_interface *interface, struct vq_error *err);
int vq_check_hostdev(const struct vq_hostdev *hostdev, struct vq_error *err);
int vq_check_channel(const struct vq_port *channel, struct vq_error *err);
int vq_check_redirdev(const struct vq_redirdev *redirdev, struct vq_error *err);
int vq_check_rng(const struct vq_rng *rng, struct vq_error *err);
int vq_check_smartcard(const struct vq_smartcard *smartcard, struct vq_error *err);
int vq_check_graphics(const struct vq_graphics *graphics, struct vq_error *err);
int vq_check_video(const struct vq_video *video, struct vq_error *err);
int vq_check_input(const struct vq_input *input, struct vq_error *err);
int vq_check_audio(const struct vq_audio *audio, struct vq_error *err);
int vq_check_memory(const struct vq_memory_device *memory, struct vq_error *err);
int vq_check_shmem(const struct vq_shmem *shmem, struct vq_error *err);
int vq_check_tpm(const struct vq_tpm *tpm, struct vq_error *err);
int vq_check_iommu(const struct vq_iommu *iommu, struct vq_error *err);
int vq_check_controller(const struct vq_controller *controller, struct vq_error *err);
int vq_check_os(const struct vq_os *os, struct vq_error *err);
int vq_check_clock(const struct vq_clock *clock, struct vq_error *err);
int vq_check_features(const struct vq_features *features, struct vq_error *err);
int vq_check_cpu(const struct vq_cpu *cpu, struct vq_error *err);
/* may_lack_path: sockets that are given a path at start. */
int vq_check_chardev(const struct vq_chardev *source, bool may_lack_path, struct vq_error *err);
/* All devices; everything else. */
int vq_check_devices(const struct vq_devices *devices, struct vq_error *err);
int vq_check_machine(const struct vq_domain *domain, struct vq_error *err);
