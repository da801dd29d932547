/* Any bytes as a configuration file. */
#include "conf/file.h"

#include <string.h>

#include "conf/base/memory.h"
#include "tests/fuzz/fuzz.h"

struct settings {
    char *text, **texts;
    bool flag;
    uint32_t number;
    int64_t signed_number;
};

static const struct vq_key keys[] = {
    VQ_KEY("text", STRING, settings, text),         VQ_KEY("texts", STRINGS, settings, texts),
    VQ_KEY("flag", BOOL, settings, flag),           VQ_KEY("number", UINT, settings, number, .min = 3, .max = 70),
    VQ_KEY("signed", INT, settings, signed_number),
};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    VQ_AUTOFREE char *text = vq_strndup((const char *)bytes, length);
    struct settings settings = {.number = 5};
    VQ_AUTOBUFFER unknown = VQ_BUFFER_INIT;
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_file_parse(text, "f", keys, VQ_N_ELEMENTS(keys), &settings, &unknown, &err) < 0)
        FUZZ_CHECK(err.code == VIR_ERR_CONF_SYNTAX && strncmp(err.message, "f:", 2) == 0);
    FUZZ_CHECK(settings.number >= 3 && settings.number <= 70);
    vq_file_clear(keys, VQ_N_ELEMENTS(keys), &settings);
    return 0;
}
