/* What a guest may and may not find changed when it goes on with another definition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "conf/abi.h"
#include "conf/domain.h"

static const char definition[] =
    "<domain type='qemu'><name>a</name><uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid><title>one</title>"
    "<memory unit='MiB'>64</memory><vcpu cpuset='0'>2</vcpu><os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>"
    "<cpu mode='custom' match='exact'><model>qemu64</model></cpu><on_crash>restart</on_crash><devices>"
    "<emulator>/usr/bin/qemu</emulator>"
    "<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none'/><source file='/a'/>"
    "<target dev='vda' bus='virtio'/><address type='pci' domain='0' bus='1' slot='0' function='0'/></disk>"
    "<disk type='file' device='disk'><source file='/b'/><target dev='vdb' bus='virtio'/><serial>s1</serial></disk>"
    "<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/><model type='virtio'/></interface>"
    "<graphics type='vnc' port='5901'/></devices></domain>";

static void replace(char *text, size_t size, const char *what, const char *with)
{
    const char *at = strstr(definition, what);

    assert_non_null(at);
    (void)snprintf(text, size, "%.*s%s%s", (int)(at - definition), definition, with, at + strlen(what));
}

/* Compare the definition with itself, one thing replaced. Gives the message; "": equal. */
static const char *compared(const char *what, const char *with)
{
    static struct vq_error err;
    struct vq_domain *a = NULL, *b = NULL;
    char text[4096];
    int rc;

    err = VQ_ERROR_INIT;
    replace(text, sizeof(text), what, with);
    if (vq_domain_parse(definition, 0, &a, &err) < 0 || vq_domain_parse(text, 0, &b, &err) < 0)
        fail_msg("%s", err.message);
    rc = vq_domain_abi_check(a, b, &err);
    assert_int_equal(rc, err.code == VIR_ERR_OK ? 0 : -1);
    assert_true(rc == 0 || err.code == VIR_ERR_CONFIG_UNSUPPORTED);
    vq_domain_free(a);
    vq_domain_free(b);
    return err.message;
}

static void the_same_definition_is_the_same(void **state)
{
    (void)state;
    assert_string_equal(compared("<name>a", "<name>a"), "");
}

static void what_is_the_hosts_may_differ(void **state)
{
    static const struct {
        const char *what, *with;
    } rows[] = {
        { "<name>a", "<name>b" }, { "<title>one</title>", "" }, { " cpuset='0'", "" },
        { "<on_crash>restart", "<on_crash>destroy" }, { "/usr/bin/qemu<", "/opt/qemu<" }, { "cache='none'", "cache='writeback'" },
        { "<source file='/a'/>", "<source file='/mnt/a'/>" }, { "bridge='br0'", "bridge='br1'" },
        { "<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/>",
          "<interface type='network'><mac address='52:54:00:00:00:01'/><source network='default'/>" },
        { "port='5901'", "port='5902'" }, { "<graphics", "<input type='keyboard' bus='ps2'/><graphics" },
        { "<graphics", "<input type='keyboard' bus='ps2'><alias name='input0'/></input><graphics" }, { "<graphics type='vnc' port='5901'/>", "" },
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(rows); i++)
        assert_string_equal(compared(rows[i].what, rows[i].with), "");
}

static void what_the_guest_sees_must_not_differ(void **state)
{
    static const struct {
        const char *what, *with, *message;
    } rows[] = {
        { "1809<", "1808<", "Target domain uuid 'c7a5fdbd-edaf-9455-926a-d65c16db1808' does not match source "
                            "'c7a5fdbd-edaf-9455-926a-d65c16db1809'" },
        { "'MiB'>64", "'MiB'>65", "Target domain memory '66560' does not match source '65536'" },
        { ">2</vcpu>", ">3</vcpu>", "Target domain vcpu '3' does not match source '2'" },
        { "pc-q35-7.2", "pc-q35-7.1", "Target domain os/type/@machine 'pc-q35-7.1' does not match source 'pc-q35-7.2'" },
        { "<model>qemu64", "<model>kvm64", "Target domain cpu/model 'kvm64' does not match source 'qemu64'" },
        { "dev='vda' bus='virtio'", "dev='sda' bus='scsi'",
          "Target domain devices/disk[1]/target/@dev 'sda' does not match source 'vda'" },
        { "bus='1' slot='0'", "bus='2' slot='0'",
          "Target domain devices/disk[1]/address/@bus '0x02' does not match source '0x01'" },
        { "<serial>s1</serial>", "", "Target domain has no devices/disk[2]/serial, source has" },
        { "00:01'", "00:02'", "Target domain devices/interface/mac/@address '52:54:00:00:00:02' does not match source "
                              "'52:54:00:00:00:01'" },
        { "<model type='virtio'/></interface>", "<model type='e1000'/></interface>",
          "Target domain devices/interface/model/@type 'e1000' does not match source 'virtio'" },
        { "<graphics", "<sound model='ich6'/><graphics", "Target domain has devices/sound, source has none" },
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(rows); i++)
        assert_string_equal(compared(rows[i].what, rows[i].with), rows[i].message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_definition_is_the_same),
        cmocka_unit_test(what_is_the_hosts_may_differ),
        cmocka_unit_test(what_the_guest_sees_must_not_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
