/* The cluster's certificate authority and the sealing of secrets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "conf/base/memory.h"
#include "proto/pki.h"

struct authority {
    char *key, *certificate;
};

static void make_authority(struct authority *authority)
{
    struct vq_error err = VQ_ERROR_INIT;

    assert_int_equal(vq_pki_key_new(&authority->key, &err), 0);
    assert_int_equal(vq_pki_authority_new("blue", authority->key, 30, &authority->certificate, &err), 0);
}

static void free_authority(struct authority *authority)
{
    free(authority->key);
    free(authority->certificate);
}

static char *make_request(void)
{
    struct vq_error err = VQ_ERROR_INIT;
    VQ_AUTOFREE char *key = NULL;
    char *request = NULL;

    assert_int_equal(vq_pki_key_new(&key, &err), 0);
    assert_int_equal(vq_pki_request_new(key, "node7", &request, &err), 0);
    return request;
}

static void certificate_lasts_as_many_days_as_asked(void **state VQ_UNUSED)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct authority authority;
    VQ_AUTOFREE char *request = make_request();
    VQ_AUTOFREE char *certificate = NULL;
    const char *addresses[] = {"10.0.0.7", "fd00::7", "node7.example", NULL};
    int64_t expiry = 0;

    make_authority(&authority);
    assert_int_equal(
        vq_pki_sign(request, authority.certificate, authority.key, 7, "node7", addresses, 10, &certificate, &err), 0);
    assert_int_equal(vq_pki_expiry(certificate, &expiry, &err), 0);
    assert_true(llabs(expiry - (int64_t)time(NULL) - 10 * 86400) < 60);
    free_authority(&authority);
}

static void fingerprints_differ_between_authorities_of_one_name(void **state VQ_UNUSED)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct authority one, other;
    uint8_t a[32], b[32], again[32];

    make_authority(&one);
    make_authority(&other);
    assert_int_equal(vq_pki_fingerprint(one.certificate, a, &err), 0);
    assert_int_equal(vq_pki_fingerprint(one.certificate, again, &err), 0);
    assert_int_equal(vq_pki_fingerprint(other.certificate, b, &err), 0);
    assert_memory_equal(a, again, 32);
    assert_memory_not_equal(a, b, 32);
    free_authority(&one);
    free_authority(&other);
}

static void unusable_input_is_refused_with_a_reason(void **state VQ_UNUSED)
{
    struct authority authority;
    VQ_AUTOFREE char *request = make_request();
    VQ_AUTOFREE char *damaged = vq_strdup(request);
    char *certificate = NULL;
    char long_name[100];

    memset(long_name, 'n', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    damaged[strlen(damaged) / 2] = damaged[strlen(damaged) / 2] == 'A' ? 'B' : 'A'; /* the signature no longer fits */
    make_authority(&authority);
    const struct {
        const char *request, *name, *authority_key;
        int days;
    } cases[] = {
        {"", "node7", authority.key, 10},
        {"-----BEGIN NEW CERTIFICATE REQUEST-----\nAAAA\n-----END NEW CERTIFICATE REQUEST-----\n", "node7",
         authority.key, 10},
        {damaged, "node7", authority.key, 10},
        {authority.certificate, "node7", authority.key, 10},
        {request, "", authority.key, 10},
        {request, "a/b", authority.key, 10},
        {request, "a\nb", authority.key, 10},
        {request, long_name, authority.key, 10},
        {request, "node7", authority.key, 0},
        {request, "node7", authority.key, 1000000},
        {request, "node7", "", 10},
        {request, "node7", NULL, 10},
    };
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        struct vq_error err = VQ_ERROR_INIT;
        assert_int_equal(vq_pki_sign(cases[i].request, authority.certificate, cases[i].authority_key, 7, cases[i].name,
                                     NULL, cases[i].days, &certificate, &err),
                         -1);
        assert_null(certificate);
        assert_true(err.code != VIR_ERR_OK && err.message[0] != '\0');
    }
    free_authority(&authority);
}

static const uint8_t cluster_key[32] = {1, 2, 3};

static void sealed_secret_opens_with_the_same_key_and_place(void **state VQ_UNUSED)
{
    struct vq_error err = VQ_ERROR_INIT;
    VQ_AUTOFREE uint8_t *sealed = NULL;
    VQ_AUTOFREE uint8_t *again = NULL;
    VQ_AUTOFREE uint8_t *secret = NULL;
    size_t length = 0, again_length = 0, secret_length = 0;

    assert_int_equal(vq_pki_seal(cluster_key, "hush", 4, "authority", &sealed, &length, &err), 0);
    assert_int_equal(vq_pki_seal(cluster_key, "hush", 4, "authority", &again, &again_length, &err), 0);
    assert_int_equal(length, again_length);
    assert_memory_not_equal(sealed, again, length); /* a nonce is never used twice */
    assert_int_equal(vq_pki_unseal(cluster_key, sealed, length, "authority", &secret, &secret_length, &err), 0);
    assert_int_equal(secret_length, 4);
    assert_memory_equal(secret, "hush", 4);
}

static void tampered_or_moved_secret_does_not_open(void **state VQ_UNUSED)
{
    struct vq_error err = VQ_ERROR_INIT;
    VQ_AUTOFREE uint8_t *sealed = NULL;
    uint8_t *secret = NULL;
    uint8_t other_key[32] = {9};
    size_t length = 0, secret_length = 0;

    assert_int_equal(vq_pki_seal(cluster_key, "hush", 4, "authority", &sealed, &length, &err), 0);
    for (size_t i = 0; i < length; i++) {
        sealed[i] ^= 1;
        assert_int_equal(vq_pki_unseal(cluster_key, sealed, length, "authority", &secret, &secret_length, &err), -1);
        sealed[i] ^= 1;
    }
    for (size_t cut = 0; cut < length; cut++)
        assert_int_equal(vq_pki_unseal(cluster_key, sealed, cut, "authority", &secret, &secret_length, &err), -1);
    assert_int_equal(vq_pki_unseal(cluster_key, sealed, length, "elsewhere", &secret, &secret_length, &err), -1);
    assert_int_equal(vq_pki_unseal(other_key, sealed, length, "authority", &secret, &secret_length, &err), -1);
    assert_null(secret);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(certificate_lasts_as_many_days_as_asked),
        cmocka_unit_test(fingerprints_differ_between_authorities_of_one_name),
        cmocka_unit_test(unusable_input_is_refused_with_a_reason),
        cmocka_unit_test(sealed_secret_opens_with_the_same_key_and_place),
        cmocka_unit_test(tampered_or_moved_secret_does_not_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
