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
    "<graphics type='vnc' port='5901'/>"
    "<filesystem type='mount' accessmode='passthrough'><driver type='virtiofs' queue='512'/><binary path='/v'/>"
    "<source dir='/a'/><target dir='tag'/></filesystem>"
    "<channel type='unix'><source mode='bind' path='/c'/><target type='virtio' name='n'/></channel>"
    "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm><sound model='ich9'><audio id='1'/></sound>"
    "<audio id='1' type='none'/><video><model type='virtio' heads='1'/></video>"
    "<hostdev mode='subsystem' type='usb' managed='yes'><source><vendor id='0x1234'/><product id='0xbeef'/></source></hostdev>"
    "<redirdev bus='usb' type='spicevmc'/><watchdog model='i6300esb' action='reset'/>"
    "<memballoon model='virtio'><stats period='5'/></memballoon>"
    "<rng model='virtio'><rate bytes='9'/><backend model='random'>/dev/random</backend></rng>"
    "<shmem name='s'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>"
    "<memory model='nvdimm'><source><path>/n</path><alignsize unit='KiB'>2048</alignsize></source>"
    "<target><size unit='MiB'>512</size><node>0</node></target></memory>"
    "<crypto model='virtio' type='qemu'><backend model='builtin' queues='1'/></crypto>"
    "<vsock model='virtio'><cid auto='no' address='3'/></vsock></devices></domain>";

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
        { "accessmode='passthrough'", "accessmode='mapped'" }, { "<binary path='/v'/>", "" },
        { "type='unix'><source mode='bind' path='/c'/>", "type='pty'>" },
        { "<audio id='1' type='none'/>", "<audio id='1' type='spice'/>" }, { "0xbeef", "0xbeee" },
        { "managed='yes'", "managed='no'" }, { "type='spicevmc'", "type='pty'" }, { "action='reset'", "action='dump'" },
        { "<stats period='5'/>", "" }, { "<rate bytes='9'/>", "" }, { "/dev/random", "/dev/hwrng" },
        { "<path>/n</path>", "<path>/m</path>" }, { "cache='none'", "cache='none' iothread='1' discard='unmap'" },
        { "match='exact'", "match='exact' check='full'" },
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
        { "<graphics", "<hub type='usb'/><graphics", "Target domain has devices/hub, source has none" },
        { "cache='none'", "cache='none' packed='on'",
          "Target domain has devices/disk[1]/driver/@packed on, source has none" },
        { "<model type='virtio'/></interface>", "<model type='virtio'/><driver queues='4'/></interface>",
          "Target domain has devices/interface/driver/@queues 4, source has none" },
        { "queue='512'", "queue='1024'", "Target domain devices/filesystem/driver/@queue '1024' does not match source '512'" },
        { "dir='tag'", "dir='gat'", "Target domain devices/filesystem/target/@dir 'gat' does not match source 'tag'" },
        { "name='n'", "name='m'", "Target domain devices/channel/target/@name 'm' does not match source 'n'" },
        { "version='2.0'", "version='1.2'", "Target domain devices/tpm/backend/@version '1.2' does not match source '2.0'" },
        { "model='ich9'", "model='ich6'", "Target domain devices/sound/@model 'ich6' does not match source 'ich9'" },
        { "heads='1'", "heads='2'", "Target domain devices/video/model/@heads '2' does not match source '1'" },
        { "i6300esb", "ib700", "Target domain devices/watchdog/@model 'ib700' does not match source 'i6300esb'" },
        { "<memballoon model='virtio'>", "<memballoon model='none'>",
          "Target domain devices/memballoon/@model 'none' does not match source 'virtio'" },
        { "<rng model='virtio'>", "<rng model='virtio-transitional'>",
          "Target domain devices/rng/@model 'virtio-transitional' does not match source 'virtio'" },
        { "<shmem name='s'", "<shmem name='t'", "Target domain devices/shmem/@name 't' does not match source 's'" },
        { ">2048</alignsize", ">4096</alignsize",
          "Target domain devices/memory/source/alignsize '4096' does not match source '2048'" },
        { ">512</size><node>", ">256</size><node>",
          "Target domain devices/memory/target/size '262144' does not match source '524288'" },
        { "model='builtin' queues='1'", "model='builtin' queues='2'",
          "Target domain devices/crypto/backend/@queues '2' does not match source '1'" },
        { "address='3'", "address='4'", "Target domain devices/vsock/cid/@address '4' does not match source '3'" },
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
