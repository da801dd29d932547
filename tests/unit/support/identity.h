/* A certificate authority for tests, and credentials that it signed. Asserts by cmocka. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct vq_tls_credentials;

struct test_authority {
    char *key, *certificate;
};

void test_authority_make(struct test_authority *authority);
void test_authority_done(struct test_authority *authority);

/* Of the node with this id; its name is "node<id>". 0: a client's certificate. The caller frees. */
struct vq_tls_credentials *test_credentials(const struct test_authority *authority, uint64_t node);
/* Without a certificate of its own. */
struct vq_tls_credentials *test_credentials_nobody(const struct test_authority *authority);
