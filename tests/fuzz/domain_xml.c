/* Any bytes as a domain document: what is accepted is written, read and written again without a change, and so is what
 * is filled in; what is refused says why. */
#include "conf/domain.h"

#include <string.h>

#include "conf/base/memory.h"
#include "conf/field.h"
#include "tests/fuzz/fuzz.h"

static void same_byte(void *bytes, size_t length, void *data)
{
    memset(bytes, 0x5a, length);
    *(unsigned char *)bytes = ++*(unsigned char *)data;
}

static bool fill(struct vq_domain *domain)
{
    unsigned char next = 0;
    const struct vq_domain_fill with = {.random = same_byte, .data = &next, .mac_prefix = {0x52, 0x54, 0x00}};
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_domain_fill(domain, &with, &err) == 0)
        return true;
    FUZZ_CHECK(err.code != VIR_ERR_OK && err.message[0] != '\0');
    return false;
}

static void round_trip(const struct vq_domain *domain, unsigned format, bool is_filled)
{
    VQ_AUTOPTR(vq_domain) copy = vq_domain_copy(domain);
    VQ_AUTOFREE char *once = vq_domain_format(copy, format);
    VQ_AUTOPTR(vq_domain) again = NULL;
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_domain_parse(once, VQ_PARSE_STRICT, &again, &err) < 0) {
        (void)fprintf(stderr, "%s\n%s", err.message, once);
        FUZZ_CHECK(false);
    }
    if (is_filled)
        FUZZ_CHECK(fill(again));
    VQ_AUTOFREE char *twice = vq_domain_format(again, format);
    if (strcmp(once, twice) != 0)
        (void)fprintf(stderr, "%s\n%s", once, twice);
    FUZZ_CHECK(strcmp(once, twice) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    VQ_AUTOFREE char *xml = vq_strndup((const char *)bytes, length);
    VQ_AUTOPTR(vq_domain) domain = NULL;
    struct vq_field_report report = {.document = "domain.xml"};
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_domain_parse_report(xml, 0, &report, &domain, &err) < 0) {
        FUZZ_CHECK(err.code == VIR_ERR_XML_ERROR || err.code == VIR_ERR_CONFIG_UNSUPPORTED ||
                   err.code == VIR_ERR_INVALID_ARG || err.code == VIR_ERR_XML_DETAIL ||
                   err.code == VIR_ERR_INTERNAL_ERROR);
        FUZZ_CHECK(err.message[0] != '\0');
    } else {
        round_trip(domain, VQ_FORMAT_SECURE, false);
        if (fill(domain))
            round_trip(domain, VQ_FORMAT_SECURE, true);
    }
    vq_buffer_done(&report.text);
    return 0;
}
