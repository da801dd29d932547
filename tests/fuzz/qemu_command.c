/* Any bytes as a domain document, all the way to QEMU's command line: what is refused says why; what is filled stays as it is
 * when it is read and filled again; what becomes a command line has a word in each place, and no secret. */
#include <string.h>

#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/command.h"
#include "drivers/qemu/definition.h"
#include "tests/fuzz/fuzz.h"
#include "tests/golden/qemu/support.h"

#define SECRET "\001secret" /* no document can have this character */

static bool fill(struct vq_domain *def, struct vq_error *err)
{
    golden_random_reset();
    if (vq_qemu_definition_fill(def, golden_capabilities(), golden_random, err) == 0)
        return true;
    FUZZ_CHECK(err->code != VIR_ERR_OK && err->message[0] != '\0');
    return false;
}

static void check_stable(const struct vq_domain *def)
{
    VQ_AUTOFREE char *once = vq_domain_format(def, VQ_FORMAT_INACTIVE | VQ_FORMAT_SECURE);
    VQ_AUTOPTR(vq_domain) again = NULL;
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_domain_parse(once, VQ_PARSE_INACTIVE, &again, &err) < 0 || !fill(again, &err)) {
        (void)fprintf(stderr, "%s\n%s\n", err.message, once);
        FUZZ_CHECK(false);
    }
    VQ_AUTOFREE char *twice = vq_domain_format(again, VQ_FORMAT_INACTIVE | VQ_FORMAT_SECURE);
    if (strcmp(once, twice) != 0)
        (void)fprintf(stderr, "%s\n%s\n", once, twice);
    FUZZ_CHECK(strcmp(once, twice) == 0);
}

static void check_command(const struct vq_qemu_command *command)
{
    FUZZ_CHECK(command->n_args > 10 && command->argv[command->n_args] == NULL);
    for (size_t i = 0; i < command->n_args; i++) {
        FUZZ_CHECK(command->argv[i] != NULL);
        FUZZ_CHECK(strstr(command->argv[i], SECRET) == NULL);
    }
    for (size_t i = 0; i < command->n_environment; i++)
        FUZZ_CHECK(strchr(command->environment[i], '=') != NULL);
}

static void run(struct vq_domain *live)
{
    VQ_AUTOPTR(vq_qemu_command) command = NULL;
    VQ_AUTOFREE struct vq_qemu_queues *taps = vq_calloc(live->devices.n_interfaces + 1, sizeof(*taps));
    struct vq_error err = VQ_ERROR_INIT;

    for (size_t i = 0; i < live->devices.n_graphics; i++)
        if (live->devices.graphics[i]->password != NULL)
            vq_set_text(&live->devices.graphics[i]->password, SECRET);
    if (vq_qemu_definition_begin_run(live, 1, "/run/guest", &err) < 0) {
        FUZZ_CHECK(err.code != VIR_ERR_OK);
        return;
    }
    golden_choose_numbers(live, taps, 20);
    const struct vq_qemu_launch launch = {.dir = "/run/guest", .monitor_fd = 3, .taps = taps,
                                          .n_taps = live->devices.n_interfaces, .vsock_fd = -1, .sandbox = true,
                                          .memory_dir = "/run/memory"};
    if (vq_qemu_command_build(live, golden_capabilities(), &launch, &command, &err) < 0)
        FUZZ_CHECK(err.code != VIR_ERR_OK && err.message[0] != '\0');
    else
        check_command(command);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    VQ_AUTOFREE char *xml = vq_strndup((const char *)bytes, length);
    VQ_AUTOPTR(vq_domain) def = NULL;
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_domain_parse(xml, VQ_PARSE_INACTIVE, &def, &err) < 0 || !fill(def, &err))
        return 0;
    check_stable(def);
    run(def);
    return 0;
}
