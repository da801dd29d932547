/* Tokens, names and addresses: the texts that people type and pipe. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conf/base/memory.h"
#include "node/cluster/cluster_state.h"
#include "node/cluster/token.h"

static char *sample(void)
{
    static uint8_t secret[VQ_TOKEN_SECRET_BYTES] = {1, 2, 3, 255}, fingerprint[32] = {9};
    static char first[] = "192.0.2.1:16520", second[] = "[2001:db8::1]:16520";
    static char *addresses[] = {first, second};
    Vq__JoinToken token = VQ__JOIN_TOKEN__INIT;

    token.addresses = addresses;
    token.n_addresses = 2;
    token.secret = (ProtobufCBinaryData){sizeof(secret), secret};
    token.authority_sha256 = (ProtobufCBinaryData){sizeof(fingerprint), fingerprint};
    token.expires_ms = 1234567890123;
    return vq_token_format(&token);
}

static void a_token_survives_text_and_blanks_around_it(void **state)
{
    (void)state;
    VQ_AUTOFREE char *text = sample();
    VQ_AUTOFREE char *padded = vq_asprintf("  %s \n", text);
    struct vq_error err = VQ_ERROR_INIT;
    Vq__JoinToken *token = NULL;

    assert_true(strncmp(text, "vq1:", 4) == 0);
    assert_null(strpbrk(text, "+/= "));
    assert_int_equal(vq_token_parse(padded, &token, &err), 0);
    assert_int_equal(token->n_addresses, 2);
    assert_string_equal(token->addresses[1], "[2001:db8::1]:16520");
    assert_int_equal(token->secret.data[3], 255);
    assert_int_equal(token->expires_ms, 1234567890123);
    vq__join_token__free_unpacked(token, NULL);
}

static void every_cut_token_is_refused_without_quoting_it(void **state)
{
    (void)state;
    VQ_AUTOFREE char *text = sample();

    for (size_t length = 0; length < strlen(text); length++) {
        VQ_AUTOFREE char *cut = vq_strndup(text, length);
        struct vq_error err = VQ_ERROR_INIT;
        Vq__JoinToken *token = NULL;
        if (vq_token_parse(cut, &token, &err) == 0) { /* the expiry may be cut to another number, not the secret */
            assert_int_equal(token->secret.len, VQ_TOKEN_SECRET_BYTES);
            vq__join_token__free_unpacked(token, NULL);
            continue;
        }
        assert_int_equal(err.code, VIR_ERR_INVALID_ARG);
        assert_true(length < 8 || strstr(err.message, cut + 4) == NULL);
    }
}

static void other_texts_are_no_tokens(void **state)
{
    static const char *const texts[] = {"", "vq1:", "vq2:AAAA", "vq1:AA+A", "vq1:====", "hello", "vq1:AAAAAAAAAAAAAAAA"};
    VQ_AUTOFREE char *huge = vq_calloc(1, 100000);

    (void)state;
    memset(huge, 'A', 99999);
    memcpy(huge, "vq1:", 4);
    for (size_t i = 0; i <= VQ_N_ELEMENTS(texts); i++) {
        struct vq_error err = VQ_ERROR_INIT;
        Vq__JoinToken *token = NULL;
        assert_int_equal(vq_token_parse(i < VQ_N_ELEMENTS(texts) ? texts[i] : huge, &token, &err), -1);
        assert_int_equal(err.code, VIR_ERR_INVALID_ARG);
        assert_null(token);
    }
}

static void node_names_are_components_of_host_names(void **state)
{
    static const char *const good[] = {"node1", "a", "N-1", "host.example.org", "0"};
    static const char *const bad[] = {"", "-a", "a-", ".", "a..b", "a.-b", "a/b", "a b", "..", "näme", "a_b",
                                      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(good); i++)
        assert_true(vq_node_name_is_valid(good[i]));
    for (size_t i = 0; i < VQ_N_ELEMENTS(bad); i++)
        assert_false(vq_node_name_is_valid(bad[i]));
}

static void addresses_get_a_port_and_must_be_numeric(void **state)
{
    static const struct {
        const char *text, *address; /* NULL: refused */
        uint16_t port;
    } cases[] = {
        {"10.0.0.1", "10.0.0.1:16520", 16520}, {"10.0.0.1:7", "10.0.0.1:7", 7},
        {"fe80::1", "[fe80::1]:16520", 16520}, {"[::1]:80", "[::1]:80", 80},
        {"[::1]", "[::1]:16520", 16520},       {"10.0.0.1:0", NULL, 0},
        {"10.0.0.1:65536", NULL, 0},           {"10.0.0.1:", NULL, 0},
        {"node1", NULL, 0},                    {"node1:80", NULL, 0},
        {"[::1", NULL, 0},                     {"[::1]x", NULL, 0},
        {"", NULL, 0},                         {"10.0.0.256", NULL, 0},
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        struct vq_error err = VQ_ERROR_INIT;
        VQ_AUTOFREE char *address = NULL;
        uint16_t port = 0;
        int rc = vq_node_address_parse(cases[i].text, 16520, &address, &port, &err);
        assert_int_equal(rc, cases[i].address == NULL ? -1 : 0);
        if (rc < 0)
            continue;
        assert_string_equal(address, cases[i].address);
        assert_int_equal(port, cases[i].port);
        VQ_AUTOFREE char *host = vq_node_address_host(address);
        assert_null(strpbrk(host, "[]"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_survives_text_and_blanks_around_it),
        cmocka_unit_test(every_cut_token_is_refused_without_quoting_it),
        cmocka_unit_test(other_texts_are_no_tokens),
        cmocka_unit_test(node_names_are_components_of_host_names),
        cmocka_unit_test(addresses_get_a_port_and_must_be_numeric),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
