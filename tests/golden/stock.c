/* The pairs of XML and XML once more, with the QEMU driver: what it makes of a definition is what a stock daemon made of
 * it, but for what each chooses by chance and for the places on PCI buses, which golden/qemu has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/definition.h"
#include "tests/golden/qemu/support.h"

enum { EQUAL_MIN = 225 };

/* Where we know better, or the emulator of these tests is another. */
static const struct {
    const char *name, *why;
} others[] = {
    {"aarch64-mmio", "the emulator of these tests is one for x86_64"},
    {"aarch64-smmu", "the emulator of these tests is one for x86_64"},
    {"aarch64-virt", "the emulator of these tests is one for x86_64"},
    {"chars", "consoles keep their numbers"},
    {"console-only-virtio", "virtio consoles have their place from the beginning"},
    {"console-virtio", "virtio consoles have their place from the beginning"},
    {"cpu-cache-level", "the emulator of these tests knows few CPUs"},
    {"display", "attributes of later releases are kept"},
    {"display2", "a back end for sound is always there"},
    {"graphics-dbus-p2p", "a back end for sound is always there"},
    {"graphics-local", "a back end for sound is always there"},
    {"graphics5", "the back end for sound that goes with SPICE"},
    {"hostdevs", "controllers for SCSI come with disks only"},
    {"net-models", "the emulator of these tests knows few models"},
    {"net-port-forward", "ports are forwarded by passt, which that daemon does not know"},
    {"numatune-auto", "nobody asks numad here"},
    {"redir", "devices of later releases are kept"},
    {"rng", "/dev/urandom never waits"},
    {"serial-models", "ports of all kinds are numbered together"},
    {"shmem", "a server needs a path"},
    {"vi-disks", "controllers that come with disks are in the order of the disks"},
    {"vi-floppy", "controllers that come with disks are in the order of the disks"},
    {"vi-serial2", "virtio consoles have their place from the beginning"},
    {"video-vhostuser", "there is no GPU of another process"},
    {"video-vmvga", "the size of video memory is kept"},
};

static const char *directory;

static bool is_other(const char *name)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(others); i++) {
        if (strcmp(others[i].name, name) == 0)
            return true;
    }
    return false;
}

static bool begins(const char *line, const char *with)
{
    return strncmp(line + strspn(line, " "), with, strlen(with)) == 0;
}

/* The lines that do not hang on chance or on PCI. */
static char *comparable(const char *xml)
{
    static const char *const chance[] = {"<uuid>", "<genid", "<mac address", "<parameters ", "<address type='pci'"};
    struct vq_buffer text = VQ_BUFFER_INIT;
    bool is_skipped = false;

    for (size_t length; *xml != '\0'; xml += length + (xml[length] == '\n')) {
        length = strcspn(xml, "\n");
        bool is_wanted = !is_skipped;

        if (begins(xml, "<controller type='pci'")) {
            is_wanted = false;
            is_skipped = strncmp(xml + length - 2, "/>", 2) != 0;
        } else if (is_skipped && begins(xml, "</controller>")) {
            is_skipped = false;
        }
        for (size_t i = 0; i < VQ_N_ELEMENTS(chance); i++)
            is_wanted = is_wanted && !begins(xml, chance[i]);
        if (is_wanted)
            vq_buffer_addf(&text, "%.*s\n", (int)length, xml);
    }
    return vq_buffer_steal(&text);
}

static char *fill(const char *name, const char *xml)
{
    VQ_AUTOPTR(vq_domain) def = NULL;
    struct vq_error err = VQ_ERROR_INIT;

    golden_random_reset();
    if (vq_domain_parse(xml, VQ_PARSE_INACTIVE, &def, &err) < 0 ||
        vq_qemu_definition_fill(def, golden_capabilities(), golden_random, &err) < 0)
        return vq_asprintf("%s is refused: %s\n", name, err.message);
    return vq_domain_format(def, VQ_FORMAT_INACTIVE | VQ_FORMAT_SECURE);
}

static void what_is_filled_in_is_what_a_stock_daemon_fills_in(void **state)
{
    char **names = golden_cases(directory);
    unsigned n_equal = 0, n_different = 0;

    (void)state;
    for (size_t i = 0; names[i] != NULL; i++) {
        VQ_AUTOFREE char *name = names[i];
        size_t length = strlen(name);

        if (length < 3 || strcmp(name + length - 3, ".in") != 0)
            continue;
        VQ_AUTOFREE char *xml = golden_read(directory, name, ".xml");
        name[length - 3] = '\0';
        if (is_other(name))
            continue;
        VQ_AUTOFREE char *stock = golden_read(directory, name, ".xml");
        VQ_AUTOFREE char *ours = fill(name, xml);
        VQ_AUTOFREE char *expected = comparable(stock), *actual = comparable(ours);
        n_equal += strcmp(expected, actual) == 0;
        if (strcmp(expected, actual) != 0) {
            print_error("case %s: expected\n%s\nnot\n%s", name, expected, actual);
            n_different++;
        }
    }
    free(names);
    assert_int_equal(n_different, 0);
    assert_true(n_equal >= EQUAL_MIN);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_filled_in_is_what_a_stock_daemon_fills_in)};

    if (argc != 2)
        return 2;
    directory = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
