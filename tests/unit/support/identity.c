/* Credentials for tests. */
#include "tests/unit/support/identity.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "conf/base/memory.h"
#include "proto/pki.h"
#include "proto/tls.h"

void test_authority_make(struct test_authority *authority)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_pki_key_new(&authority->key, &err) < 0 ||
        vq_pki_authority_new("blue", authority->key, 30, &authority->certificate, &err) < 0)
        fail_msg("%s", err.message);
}

void test_authority_done(struct test_authority *authority)
{
    free(authority->key);
    free(authority->certificate);
}

struct vq_tls_credentials *test_credentials(const struct test_authority *authority, uint64_t node)
{
    struct vq_error err = VQ_ERROR_INIT;
    VQ_AUTOFREE char *key = NULL;
    VQ_AUTOFREE char *request = NULL;
    VQ_AUTOFREE char *certificate = NULL;
    char name[32];
    const char *addresses[] = {"127.0.0.1", "::1", NULL};
    struct vq_tls_credentials *credentials = NULL;

    (void)snprintf(name, sizeof(name), "node%" PRIu64, node);
    if (vq_pki_key_new(&key, &err) < 0 || vq_pki_request_new(key, name, &request, &err) < 0 ||
        vq_pki_sign(request, authority->certificate, authority->key, node, name, addresses, 10, &certificate, &err) <
            0 ||
        vq_tls_credentials_new(authority->certificate, certificate, key, NULL, &credentials, &err) < 0)
        fail_msg("%s", err.message);
    return credentials;
}

struct vq_tls_credentials *test_credentials_nobody(const struct test_authority *authority)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_tls_credentials *credentials = NULL;

    if (vq_tls_credentials_new(authority->certificate, NULL, NULL, NULL, &credentials, &err) < 0)
        fail_msg("%s", err.message);
    return credentials;
}
