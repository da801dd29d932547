#define VQ_FROM VIR_FROM_QEMU
#include "drivers/qemu/disk.h"
int vq_qemu_disk_check(const struct vq_domain *def, const struct vq_disk *disk, struct vq_error *err)
{ (void)def;(void)disk;(void)err; return 0; }
