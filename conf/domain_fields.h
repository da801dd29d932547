/* The field tables of a domain's larger parts, for domain_fields.c that joins them. */
#pragma once

#include "conf/domain.h"
#include "conf/field.h"

extern const struct vq_fields vq_os_fields, vq_features_fields, vq_cpu_fields, vq_clock_fields, vq_sysinfo_fields;
extern const struct vq_fields vq_blkiotune_fields, vq_memtune_fields, vq_memory_backing_fields, vq_cputune_fields,
    vq_numatune_fields;
extern const struct vq_fields vq_domain_fields;
