/* The one-time token that lets a host join: made by a member, typed or piped by a person. */
#pragma once

#include <stdint.h>

#include "conf/base/error.h"
#include "proto/cluster.pb-c.h"

enum {
    VQ_TOKEN_SECRET_BYTES = 32,
    VQ_TOKEN_HASH_BYTES = 32,
    VQ_TOKEN_ADDRESSES_MAX = 16,
    VQ_TOKEN_TEXT_MAX = 4096,
};
#define VQ_TOKEN_TTL_MAX_MS     (30 * 24 * 60 * 60 * UINT64_C(1000))

/* "vq1:..." as malloc'ed text of the caller. */
char *vq_token_format(const Vq__JoinToken *token);
/* Blanks around the text are fine. The result is the caller's: vq__join_token__free_unpacked().
 * Errors: VIR_ERR_INVALID_ARG, which never quotes the token: it is a secret. */
VQ_MUST_CHECK int vq_token_parse(const char *text, Vq__JoinToken **ret, struct vq_error *err);

/* What the cluster keeps of the secret. */
void vq_token_hash(const uint8_t *secret, size_t length, uint8_t ret_hash[VQ_TOKEN_HASH_BYTES]);
