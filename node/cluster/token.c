/* Tokens as text, and their hash. */
#define VQ_FROM VIR_FROM_NONE
#include "node/cluster/token.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <gnutls/crypto.h>

#include "conf/base/memory.h"
#include "proto/cluster.h"

static const char prefix[] = "vq1:";
static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* RFC 4648 section 5, without padding. */
static char *encode(const uint8_t *bytes, size_t length)
{
    char *text = vq_calloc(1, sizeof(prefix) + (length * 4 + 2) / 3);
    size_t at = sizeof(prefix) - 1;
    uint32_t bits = 0;
    unsigned n_bits = 0;

    memcpy(text, prefix, at);
    for (size_t i = 0; i < length; i++) {
        bits = bits << 8 | bytes[i];
        for (n_bits += 8; n_bits >= 6; n_bits -= 6)
            text[at++] = alphabet[bits >> (n_bits - 6) & 63];
    }
    if (n_bits > 0)
        text[at++] = alphabet[bits << (6 - n_bits) & 63];
    return text;
}

/* False: a character that does not belong there. */
static bool decode(const char *text, size_t length, uint8_t *bytes, size_t *ret_length)
{
    uint32_t bits = 0;
    unsigned n_bits = 0;

    *ret_length = 0;
    for (size_t i = 0; i < length; i++) {
        const char *at = memchr(alphabet, text[i], sizeof(alphabet) - 1);
        if (at == NULL)
            return false;
        bits = bits << 6 | (uint32_t)(at - alphabet);
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            bytes[(*ret_length)++] = (uint8_t)(bits >> n_bits);
        }
    }
    return n_bits < 6 && (bits & ((1u << n_bits) - 1)) == 0;
}

char *vq_token_format(const Vq__JoinToken *token)
{
    size_t size = vq__join_token__get_packed_size(token);
    VQ_AUTOFREE uint8_t *bytes = vq_calloc(1, size + 1);

    return encode(bytes, vq__join_token__pack(token, bytes));
}

static bool is_whole(const Vq__JoinToken *token)
{
    return token != NULL && token->n_addresses > 0 && token->n_addresses <= VQ_TOKEN_ADDRESSES_MAX &&
           token->authority_sha256.len == VQ_TOKEN_HASH_BYTES && token->secret.len == VQ_TOKEN_SECRET_BYTES &&
           token->expires_ms != 0;
}

int vq_token_parse(const char *text, Vq__JoinToken **ret, struct vq_error *err)
{
    uint8_t bytes[VQ_TOKEN_TEXT_MAX];
    size_t length, n_bytes;

    while (isspace((unsigned char)*text))
        text++;
    length = strnlen(text, VQ_TOKEN_TEXT_MAX + 1);
    while (length > 0 && length <= VQ_TOKEN_TEXT_MAX && isspace((unsigned char)text[length - 1]))
        length--;
    if (length < sizeof(prefix) || length > VQ_TOKEN_TEXT_MAX || strncmp(text, prefix, sizeof(prefix) - 1) != 0)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "this is no token: it begins with 'vq1:', as `virtquorum token` "
                                                      "prints it");
    if (!decode(text + sizeof(prefix) - 1, length - (sizeof(prefix) - 1), bytes, &n_bytes))
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "the token is damaged: copy all of it");
    bool is_sound = vq_cluster_check(&vq__join_token__descriptor, bytes, n_bytes, NULL) == 0;
    Vq__JoinToken *token = is_sound ? vq__join_token__unpack(NULL, n_bytes, bytes) : NULL;
    if (!is_whole(token)) {
        vq__join_token__free_unpacked(token, NULL);
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "the token is damaged: copy all of it");
    }
    *ret = token;
    return 0;
}

void vq_token_hash(const uint8_t *secret, size_t length, uint8_t ret_hash[VQ_TOKEN_HASH_BYTES])
{
    int rc = gnutls_hash_fast(GNUTLS_DIG_SHA256, secret, length, ret_hash);

    assert(rc == 0); /* SHA-256 is always there */
}
