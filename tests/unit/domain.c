/* The domain: what is refused, what is filled in. That what is said survives is shown by the golden pairs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conf/base/memory.h"
#include "conf/domain.h"
#include "conf/field.h"

static void count_up(void *bytes, size_t length, void *data)
{
    unsigned char *at = bytes, *next = data;

    for (size_t i = 0; i < length; i++)
        at[i] = (*next)++;
}

static int fill(struct vq_domain *domain, struct vq_error *err)
{
    unsigned char next = 1;
    const struct vq_domain_fill with = {.random = count_up, .data = &next, .mac_prefix = {0x52, 0x54, 0x00}};

    return vq_domain_fill(domain, &with, err);
}

/* A domain with these elements more, and these devices. */
static char *document(const char *elements, const char *devices)
{
    return vq_asprintf(
        "<domain type='qemu'>\n<name>d</name><memory>1024</memory><os><type>hvm</type></os>\n%s\n<devices>"
        "%s</devices></domain>",
        elements, devices);
}

static struct vq_domain *filled(const char *elements, const char *devices)
{
    VQ_AUTOFREE char *xml = document(elements, devices);
    struct vq_domain *domain = NULL;
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_domain_parse(xml, VQ_PARSE_INACTIVE | VQ_PARSE_STRICT, &domain, &err) < 0 || fill(domain, &err) < 0)
        fail_msg("%s", err.message);
    return domain;
}

static void expect_refused_document(const char *xml, unsigned flags, int code, const char *message)
{
    VQ_AUTOPTR(vq_domain) domain = NULL;
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_domain_parse(xml, flags, &domain, &err) == 0 && fill(domain, &err) == 0)
        fail_msg("accepted: %s", xml);
    if (strstr(err.message, message) == NULL)
        fail_msg("'%s' is not in '%s'", message, err.message);
    assert_int_equal(err.code, code);
}

static void expect_refused(const char *elements, const char *devices, int code, const char *message)
{
    VQ_AUTOFREE char *xml = document(elements, devices);

    expect_refused_document(xml, 0, code, message);
}

#define HEAD "<memory>1024</memory><os><type>hvm</type></os>"

static void names_are_checked(void **state)
{
    VQ_AUTOFREE char *long_name = vq_asprintf("<domain type='qemu'><name>%0256d</name>" HEAD "</domain>", 1);

    (void)state;
    expect_refused_document("<domain type='qemu'>" HEAD "</domain>", 0, VIR_ERR_NO_NAME, "missing name information");
    expect_refused_document("<domain type='qemu'><name></name>" HEAD "</domain>", 0, VIR_ERR_NO_NAME, "missing name");
    expect_refused_document("<domain type='qemu'><name>a/b</name>" HEAD "</domain>", 0, VIR_ERR_XML_ERROR,
                            "name a/b cannot contain '/'");
    expect_refused_document("<domain type='qemu'><name>a\nb</name>" HEAD "</domain>", 0, VIR_ERR_XML_ERROR,
                            "cannot contain '\\n'");
    expect_refused_document("<domain type='qemu'><name> </name>" HEAD "</domain>", 0, VIR_ERR_XML_ERROR, "visible");
    expect_refused_document("<domain type='qemu'><name>..</name>" HEAD "</domain>", 0, VIR_ERR_XML_ERROR, "'..'");
    expect_refused_document("<domain type='qemu'><name>a\tb</name>" HEAD "</domain>", 0, VIR_ERR_XML_ERROR, "control");
    expect_refused_document(long_name, 0, VIR_ERR_XML_ERROR, "255");
}

static void types_are_checked(void **state)
{
    (void)state;
    expect_refused_document("<domain type='bogus'><name>x</name>" HEAD "</domain>", 0, VIR_ERR_CONFIG_UNSUPPORTED,
                            "invalid domain type bogus");
    expect_refused_document("<domain><name>x</name>" HEAD "</domain>", 0, VIR_ERR_XML_ERROR, "type");
    expect_refused_document("<domain type='qemu'><name>x</name><memory>1</memory></domain>", 0, VIR_ERR_XML_ERROR,
                            "an os <type> must be specified");
    expect_refused_document("<network><name>x</name></network>", 0, VIR_ERR_XML_ERROR,
                            "expecting root element of 'domain', not 'network'");
}

static void hostile_numbers_and_sets_are_refused(void **state)
{
    static const char *const cpusets[] = {"0-4294967295", "^0", "5-1", ",", "-1", "99999999999999999999"};

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(cpusets); i++) {
        VQ_AUTOFREE char *vcpu = vq_asprintf("<vcpu cpuset='%s'>1</vcpu>", cpusets[i]);

        expect_refused(vcpu, "", VIR_ERR_INVALID_ARG, "Invalid value for attribute 'cpuset' in element 'vcpu'");
    }
    expect_refused("<vcpu>4294967297</vcpu>", "", VIR_ERR_XML_ERROR, "element 'vcpu'");
    expect_refused("<vcpu>-1</vcpu>", "", VIR_ERR_XML_ERROR, "element 'vcpu'");
    expect_refused("<currentMemory unit='EiB'>99</currentMemory>", "", VIR_ERR_XML_ERROR, "(line 3;");
    expect_refused("<currentMemory>18446744073709551616</currentMemory>", "", VIR_ERR_XML_ERROR, "'currentMemory'");
    expect_refused("<cpu><topology sockets='65535' dies='65535' cores='65535' threads='65535'/></cpu>", "",
                   VIR_ERR_CONFIG_UNSUPPORTED, "CPU topology doesn't match maximum vcpu count");
    expect_refused("<cpu><numa><cell id='0' memory='9223372036854775807'/><cell id='1' memory='9223372036854775807'/>"
                   "</numa></cpu>",
                   "", VIR_ERR_XML_ERROR, "a size was expected");
    expect_refused("", "<interface type='user'><mac address='ff:ff:ff:ff:ff:ff'/></interface>", VIR_ERR_XML_ERROR,
                   "multicast");
    expect_refused("", "<controller type='pci'><address type='pci' slot='0x20'/></controller>", VIR_ERR_XML_ERROR,
                   "attribute 'slot'");
}

static void documents_that_are_too_deep_are_refused(void **state)
{
    VQ_AUTOBUFFER disk = VQ_BUFFER_INIT;

    (void)state;
    vq_buffer_add(&disk, "<disk><source file='/i'/><target dev='vda'/>");
    for (int i = 0; i < 300; i++)
        vq_buffer_add(&disk, "<backingStore type='file'>");
    expect_refused("", disk.data, VIR_ERR_XML_ERROR, "nested too deeply");
}

static char *many(const char *device, const char *name, unsigned n)
{
    struct vq_buffer all = VQ_BUFFER_INIT;

    for (unsigned i = 0; i < n; i++)
        vq_buffer_addf(&all, device, name, 'a' + i / 676 % 26, 'a' + i / 26 % 26, 'a' + i % 26);
    return vq_buffer_steal(&all);
}

static void the_number_of_devices_is_bounded(void **state)
{
    VQ_AUTOFREE char *most = many("<disk><source file='/i'/><target dev='%s%c%c%c'/></disk>", "vd", VQ_DEVICES_MAX);
    VQ_AUTOFREE char *too_many = many("<disk><source file='/i'/><target dev='%s%c%c%c'/></disk>", "vd", VQ_DEVICES_MAX + 1);
    VQ_AUTOFREE char *serials = many("<serial type='null'><!-- %s%c%c%c --></serial>", "", VQ_DEVICES_MAX);
    VQ_AUTOFREE char *controllers = many("<controller type='scsi'><!-- %s%c%c%c --></controller>", "", VQ_DEVICES_MAX);
    VQ_AUTOPTR(vq_domain) full = filled("", most);
    VQ_AUTOPTR(vq_domain) ports = filled("", serials);
    VQ_AUTOPTR(vq_domain) buses = filled("", controllers);

    (void)state;
    assert_int_equal(full->devices.n_disks, VQ_DEVICES_MAX);
    assert_int_equal(ports->devices.serials[VQ_DEVICES_MAX - 1]->number, VQ_DEVICES_MAX - 1);
    assert_int_equal(buses->devices.controllers[VQ_DEVICES_MAX - 1]->index, VQ_DEVICES_MAX - 1);
    expect_refused("", too_many, VIR_ERR_XML_ERROR, "more than 1024 elements 'disk'");
}

static void counts_and_sizes_must_fit_together(void **state)
{
    (void)state;
    expect_refused("<vcpu current='3'>2</vcpu>", "", VIR_ERR_XML_ERROR,
                   "maxvcpus must not be less than current vcpus (2 < 3)");
    expect_refused("<vcpu>2</vcpu><cpu><topology sockets='1' cores='3' threads='1'/></cpu>", "",
                   VIR_ERR_CONFIG_UNSUPPORTED, "topology");
    expect_refused("<cpu><topology sockets='1' cores='1'/></cpu>", "", VIR_ERR_XML_ERROR,
                   "Missing 'threads' attribute in CPU topology");
    expect_refused("<maxMemory>2048</maxMemory>", "", VIR_ERR_XML_ERROR,
                   "both maximum memory size and memory slot count");
    expect_refused("<iothreadids><iothread id='1'/><iothread id='1'/></iothreadids>", "", VIR_ERR_XML_ERROR,
                   "duplicate iothread id '1' found");
    expect_refused_document("<domain type='qemu'><name>x</name><os><type>hvm</type></os></domain>", 0,
                            VIR_ERR_XML_ERROR, "Memory size must be specified");
}

static void things_that_must_differ_are_compared(void **state)
{
    (void)state;
    expect_refused("",
                   "<disk><source file='/a'/><target dev='vda'/></disk><disk><source file='/b'/><target dev='vda'/>"
                   "</disk>",
                   VIR_ERR_XML_ERROR, "target 'vda' duplicated for disk sources '/a' and '/b'");
    expect_refused("",
                   "<disk><source file='/i'/><target dev='hda'/><boot order='1'/></disk><disk><source file='/i'/><target dev='hdb'/><boot order='1'/></disk>",
                   VIR_ERR_XML_ERROR, "boot order '1' used for more than one device");
    expect_refused("",
                   "<disk><source file='/i'/><target dev='hda'/><address type='drive' controller='0' bus='0' unit='1'/></disk>"
                   "<disk><source file='/i'/><target dev='hdb'/></disk>",
                   VIR_ERR_CONFIG_UNSUPPORTED, "Found duplicate drive address for disk with target name 'hd");
    expect_refused("",
                   "<disk><source file='/i'/><target dev='vda'/><alias name='ua-x'/></disk><disk><source file='/i'/><target dev='vdb'/><alias name='ua-x'/>"
                   "</disk>",
                   VIR_ERR_CONFIG_UNSUPPORTED, "non unique alias detected: ua-x");
    expect_refused_document(
        "<domain type='qemu'><name>x</name><memory>1024</memory><os><type>hvm</type><boot dev='hd'/>"
        "</os><devices><disk><source file='/i'/><target dev='vda'/><boot order='1'/></disk></devices></domain>",
        0, VIR_ERR_CONFIG_UNSUPPORTED, "per-device boot elements cannot be used together with os/boot");
    expect_refused("", "<disk><source file='/i'/><target dev='sd1'/></disk>", VIR_ERR_XML_ERROR, "Unknown disk name 'sd1'");
}

static void strict_parsing_refuses_what_is_not_known(void **state)
{
    VQ_AUTOFREE char *xml = document("<colour/>", "\n<disk><driver cahce='none'/><target dev='vda'/></disk>");
    struct vq_field_report report = {.document = "domain.xml"};
    VQ_AUTOPTR(vq_domain) domain = NULL;
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    expect_refused_document(xml, VQ_PARSE_STRICT, VIR_ERR_XML_INVALID_SCHEMA, "domain.xml:3: colour: unknown element");
    expect_refused_document(xml, VQ_PARSE_STRICT, VIR_ERR_XML_INVALID_SCHEMA,
                            "domain.xml:5: devices/disk/driver@cahce: unknown attribute; known: name, type, cache");
    assert_int_equal(vq_domain_parse_report(xml, 0, &report, &domain, &err), 0);
    assert_int_equal(report.n_unknown, 2);
    vq_buffer_done(&report.text);
}

static void a_parsed_definition_knows_how_many_vcpus_run(void **state)
{
    struct vq_domain *domain = NULL;
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    assert_int_equal(vq_domain_parse("<domain type='qemu'><name>a</name><vcpu>4</vcpu></domain>", 0, &domain, &err), 0);
    assert_int_equal(domain->vcpus, 4);
    assert_int_equal(domain->current_vcpus, 4);
    vq_domain_free(domain);
    assert_int_equal(
        vq_domain_parse("<domain type='qemu'><name>a</name><vcpu current='1'>4</vcpu></domain>", 0, &domain, &err), 0);
    assert_int_equal(domain->current_vcpus, 1);
    vq_domain_free(domain);
}

static void defaults_are_filled_in(void **state)
{
    VQ_AUTOPTR(vq_domain) domain = filled("<genid/>", "<interface type='user'/>");

    (void)state;
    assert_true(domain->has_uuid);
    assert_int_equal(domain->uuid[6] >> 4, 4);
    assert_true(domain->has_genid);
    assert_int_equal(domain->current_memory_kib, 1024);
    assert_int_equal(domain->vcpus, 1);
    assert_int_equal(domain->current_vcpus, 1);
    assert_string_equal(domain->vcpu_placement, "static");
    assert_int_equal(domain->os.n_boot, 1);
    assert_int_equal(domain->os.boot[0]->dev, VQ_BOOT_HD);
    assert_int_equal(domain->clock.offset, VQ_CLOCK_UTC);
    assert_int_equal(domain->on_reboot, VQ_LIFECYCLE_RESTART);
    assert_true(domain->devices.interfaces[0]->has_mac);
    assert_memory_equal(domain->devices.interfaces[0]->mac, "\x52\x54\x00", 3);
}

static void disks_get_bus_and_address_from_their_target(void **state)
{
    static const struct {
        const char *target;
        enum vq_disk_bus bus;
        uint32_t controller, channel, unit;
    } cases[] = {
        {"hda", VQ_DISK_BUS_IDE, 0, 0, 0},   {"hdd", VQ_DISK_BUS_IDE, 0, 1, 1},  {"hde", VQ_DISK_BUS_IDE, 1, 0, 0},
        {"sda", VQ_DISK_BUS_SCSI, 0, 0, 0},  {"sdg", VQ_DISK_BUS_SCSI, 0, 0, 6}, {"sdh", VQ_DISK_BUS_SCSI, 1, 0, 0},
        {"sdaa", VQ_DISK_BUS_SCSI, 3, 0, 5}, {"fdb", VQ_DISK_BUS_FDC, 0, 0, 1},
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        VQ_AUTOFREE char *xml = vq_asprintf("<disk><source file='/i'/><target dev='%s'/></disk>", cases[i].target);
        VQ_AUTOPTR(vq_domain) domain = filled("", xml);
        const struct vq_disk *disk = domain->devices.disks[0];

        assert_int_equal(disk->bus, cases[i].bus);
        assert_int_equal(disk->info.address.type, VQ_ADDRESS_DRIVE);
        assert_int_equal(disk->info.address.drive.controller, cases[i].controller);
        assert_int_equal(disk->info.address.drive.bus, cases[i].channel);
        assert_int_equal(disk->info.address.drive.unit, cases[i].unit);
    }
    assert_int_equal(vq_disk_target_index("vda"), 0);
    assert_int_equal(vq_disk_target_index("xvdz"), 25);
    assert_int_equal(vq_disk_target_index("sdaa1"), 26);
    assert_int_equal(vq_disk_target_index("sd"), -1);
    assert_int_equal(vq_disk_target_index("sdzzzzzzzzzzzzzzzz"), -1);
    assert_int_equal(vq_disk_target_index("disk"), -1);
}

static void disks_of_a_bus_stand_together_in_order(void **state)
{
    static const char *const expected[] = {"vda", "vdb", "vdc", "hda", "hdc"};
    VQ_AUTOPTR(vq_domain)
    domain =
        filled("", "<disk><source file='/i'/><target dev='vdb'/></disk><disk><source file='/i'/><target dev='hdc'/></disk><disk><source file='/i'/><target dev='vdc'/></disk>"
                   "<disk><source file='/i'/><target dev='hda'/></disk><disk><source file='/i'/><target dev='vda'/></disk>");

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(expected); i++)
        assert_string_equal(domain->devices.disks[i]->target, expected[i]);
}

static void controllers_get_an_index_and_companions_that_of_their_master(void **state)
{
    VQ_AUTOPTR(vq_domain)
    domain = filled("", "<controller type='usb' model='ich9-ehci1'/><controller type='usb' model='ich9-uhci1'>"
                        "<master startport='0'/></controller><controller type='usb' model='qemu-xhci'/>"
                        "<controller type='scsi' index='1'/><controller type='scsi'/><controller type='scsi'/>");
    static const uint32_t expected[] = {0, 0, 1, 0, 1, 2};

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(expected); i++)
        assert_int_equal(domain->devices.controllers[i]->index, expected[i]);
}

static void console_and_serial_port_bring_each_other(void **state)
{
    VQ_AUTOPTR(vq_domain) by_console = filled("", "<console type='pty'/>");
    VQ_AUTOPTR(vq_domain) by_serial = filled("", "<serial type='file'><source path='/x'/></serial>");
    VQ_AUTOPTR(vq_domain) virtio = filled("", "<console type='pty'><target type='virtio'/></console>");

    (void)state;
    assert_int_equal(by_console->devices.n_serials, 1);
    assert_int_equal(by_console->devices.serials[0]->source.type, VQ_CHARDEV_PTY);
    assert_int_equal(by_console->devices.consoles[0]->target, VQ_PORT_TARGET_SERIAL);
    assert_int_equal(by_serial->devices.n_consoles, 1);
    assert_string_equal(by_serial->devices.consoles[0]->source.path, "/x");
    assert_int_equal(virtio->devices.n_serials, 0);
}

static void graphics_get_ports_and_listeners(void **state)
{
    VQ_AUTOPTR(vq_domain)
    domain = filled("", "<graphics type='vnc'/><graphics type='vnc' port='5905' listen='1.2.3.4'/>"
                        "<graphics type='spice' autoport='yes'/><graphics type='vnc'><listen type='none'/></graphics>");
    struct vq_graphics **graphics = domain->devices.graphics;

    (void)state;
    assert_int_equal(graphics[0]->port, -1);
    assert_int_equal(graphics[0]->autoport, VQ_SWITCH_ON);
    assert_int_equal(graphics[0]->listens[0]->type, VQ_LISTEN_ADDRESS);
    assert_int_equal(graphics[1]->autoport, VQ_SWITCH_OFF);
    assert_string_equal(graphics[1]->listens[0]->address, "1.2.3.4");
    assert_false(graphics[2]->has_port);
    assert_false(graphics[3]->has_port);
    assert_int_equal(graphics[3]->autoport, VQ_SWITCH_UNSET);
}

static void memory_is_what_the_cells_have(void **state)
{
    VQ_AUTOPTR(vq_domain)
    domain = filled(
        "<vcpu>2</vcpu><cpu><numa><cell cpus='0' memory='4096'/><cell cpus='1' memory='1' unit='MiB'/></numa></cpu>",
        "");

    (void)state;
    assert_int_equal(domain->memory_kib, 4096 + 1024);
    assert_int_equal(domain->cpu->cells[1]->id, 1);
}

static void a_running_domain_shows_its_id_and_an_inactive_one_does_not(void **state)
{
    VQ_AUTOPTR(vq_domain) domain = filled("", "");

    (void)state;
    domain->id = 7;
    VQ_AUTOFREE char *live = vq_domain_format(domain, 0), *inactive = vq_domain_format(domain, VQ_FORMAT_INACTIVE);
    assert_non_null(strstr(live, "<domain type='qemu' id='7'>"));
    assert_null(strstr(inactive, "id='"));
}

static void what_any_daemon_adds_is_left_out_for_another(void **state)
{
    VQ_AUTOPTR(vq_domain)
    domain = filled(
        "", "<controller type='usb' index='0' model='piix3-uhci'/><controller type='pci' index='0' model='pci-root'/>"
            "<input type='mouse' bus='ps2'/><input type='keyboard' bus='ps2'/><audio id='1' type='none'/>"
            "<sound model='ich9'/>");
    VQ_AUTOFREE char *text = vq_domain_format(domain, VQ_FORMAT_INACTIVE | VQ_FORMAT_MIGRATABLE);

    (void)state;
    assert_non_null(
        strstr(text, "<devices>\n    <input type='mouse' bus='ps2'/>\n    <sound model='ich9'/>\n  </devices>"));
    /* With a second one the first is no longer what would be added. */
    VQ_AUTOPTR(vq_domain)
    two = filled("", "<controller type='usb' index='0' model='piix3-uhci'/>"
                     "<controller type='usb' index='1' model='qemu-xhci'/>");
    VQ_AUTOFREE char *both = vq_domain_format(two, VQ_FORMAT_INACTIVE | VQ_FORMAT_MIGRATABLE);
    assert_non_null(strstr(both, "piix3-uhci"));
}

static void what_chance_gave_is_kept_when_the_same_is_defined_again(void **state)
{
    static const char devices[] = "<interface type='network'><source network='a'/><virtualport/></interface>"
                                  "<interface type='network'><source network='b'/></interface>";
    VQ_AUTOPTR(vq_domain) old = filled("<genid/>", devices);
    VQ_AUTOFREE char *xml = document("<genid/>", devices);
    VQ_AUTOPTR(vq_domain) again = NULL;
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    assert_int_equal(vq_domain_parse(xml, VQ_PARSE_INACTIVE, &again, &err), 0);
    memcpy(again->uuid, old->uuid, sizeof(again->uuid));
    again->has_uuid = true;
    vq_domain_keep(again, old);
    assert_int_equal(fill(again, &err), 0);
    VQ_AUTOFREE char *first = vq_domain_format(old, VQ_FORMAT_INACTIVE);
    VQ_AUTOFREE char *second = vq_domain_format(again, VQ_FORMAT_INACTIVE);
    assert_string_equal(first, second);
}

static void what_is_another_interface_is_given_another_address(void **state)
{
    VQ_AUTOPTR(vq_domain) old = filled("", "<interface type='network'><source network='a'/></interface>"
                                           "<interface type='network'><source network='b'/></interface>");
    VQ_AUTOFREE char *taken = vq_asprintf(
        "<interface type='network'><source network='c'/></interface><interface type='network'>"
        "<source network='b'/></interface><interface type='user'><mac address='52:54:00:%02x:%02x:%02x'/></interface>",
        old->devices.interfaces[1]->mac[3], old->devices.interfaces[1]->mac[4], old->devices.interfaces[1]->mac[5]);
    VQ_AUTOFREE char *xml = document("", taken);
    VQ_AUTOPTR(vq_domain) again = NULL;
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    assert_int_equal(vq_domain_parse(xml, VQ_PARSE_INACTIVE, &again, &err), 0);
    vq_domain_keep(again, old);
    assert_false(again->devices.interfaces[0]->has_mac);
    assert_false(again->devices.interfaces[1]->has_mac);
}

static void live_values_are_read_and_written_and_left_out_of_the_definition(void **state)
{
    static const char *const values[] = {
        "<mirror type='file' file='/m' format='qcow2' job='copy' ready='yes'>", "<backingStore/>\n      </mirror>",
        "<cachetune vcpus='0' id='vcpus_0'>", "<current unit='KiB'>2048</current>",
    };
    static const char xml[] =
        "<domain type='kvm' id='3'><name>d</name><memory>1024</memory><os><type>hvm</type></os><cputune>"
        "<cachetune vcpus='0' id='vcpus_0'><cache id='0' level='3' type='both' size='1' unit='MiB'/></cachetune></cputune>"
        "<devices><disk type='file'><source file='/a'/><mirror type='file' file='/m' format='qcow2' job='copy' ready='yes'>"
        "<format type='qcow2'/><source file='/m'/><backingStore/></mirror><target dev='vda'/></disk>"
        "<memory model='virtio-mem'><target><size>4096</size><node>0</node><block>2048</block><requested>2048</requested>"
        "<current>2048</current></target></memory></devices></domain>";
    VQ_AUTOPTR(vq_domain) domain = NULL;
    VQ_AUTOPTR(vq_domain) inactive = NULL;
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    if (vq_domain_parse(xml, VQ_PARSE_STRICT, &domain, &err) < 0 ||
        vq_domain_parse(xml, VQ_PARSE_STRICT | VQ_PARSE_INACTIVE, &inactive, &err) < 0)
        fail_msg("%s", err.message);
    VQ_AUTOFREE char *live = vq_domain_format(domain, 0);
    VQ_AUTOFREE char *defined = vq_domain_format(domain, VQ_FORMAT_INACTIVE);
    VQ_AUTOFREE char *read = vq_domain_format(inactive, VQ_FORMAT_INACTIVE);
    for (size_t i = 0; i < VQ_N_ELEMENTS(values); i++) {
        if (strstr(live, values[i]) == NULL)
            fail_msg("%s is not in %s", values[i], live);
        assert_null(strstr(defined, values[i]));
    }
    assert_string_equal(defined, read);
}

/* Each with the code that libvirtd 9.0 has for it. */
static void what_does_not_fit_together_is_refused(void **state)
{
    static const struct {
        const char *elements, *devices;
        int code;
        const char *message;
    } rows[] = {
        {"<clock offset='timezone'/>", "", VIR_ERR_INTERNAL_ERROR, "missing 'timezone'"},
        {"<clock offset='utc' adjustment='soon'/>", "", VIR_ERR_XML_ERROR, "unknown clock adjustment 'soon'"},
        {"<clock offset='moon'/>", "", VIR_ERR_CONFIG_UNSUPPORTED, "unknown offset 'moon'"},
        {"<features><hyperv><spinlocks state='on' retries='4'/></hyperv></features>", "", VIR_ERR_XML_ERROR,
         "must be at least 4095"},
        {"<features><kvm><dirty-ring state='on' size='1000'/></kvm></features>", "", VIR_ERR_XML_ERROR, "power of 2"},
        {"<features><hyperv><relaxed/></hyperv></features>", "", VIR_ERR_XML_ERROR, "attribute 'state'"},
        {"<cpu><numa><cell id='1' memory='9'/></numa></cpu>", "", VIR_ERR_XML_ERROR, "Exactly one 'cell'"},
        {"<cputune><period>5</period></cputune>", "", VIR_ERR_CONFIG_UNSUPPORTED, "in range [1000, 1000000]"},
        {"<cputune><vcpusched vcpus='0' scheduler='rr'/></cputune>", "", VIR_ERR_XML_ERROR, "attribute 'priority'"},
        {"<cputune><iothreadpin iothread='7' cpuset='0'/></cputune>", "", VIR_ERR_CONFIG_UNSUPPORTED,
         "Cannot find 'iothread' : 7"},
        {"<cputune><cachetune vcpus='0'/><cachetune vcpus='0-1'/></cputune>", "", VIR_ERR_XML_ERROR, "Overlapping vcpus"},
        {"<sysinfo type='fwcfg'><entry name='opt/x'/></sysinfo>", "", VIR_ERR_XML_ERROR, "either value or 'file'"},
        {"<maxMemory unit='parsec' slots='1'>9</maxMemory>", "", VIR_ERR_INVALID_ARG, "unknown suffix 'parsec'"},
        {"", "<disk device='disk'><target dev='vda'/></disk>", VIR_ERR_NO_SOURCE, "missing source information"},
        {"", "<disk><source file='/a'/><target dev='vda'/><vendor>more than 8</vendor></disk>",
         VIR_ERR_CONFIG_UNSUPPORTED, "more than 8 characters"},
        {"", "<disk><source file='/a'/><target dev='vda'/><wwn>5</wwn></disk>", VIR_ERR_INTERNAL_ERROR, "Malformed wwn"},
        {"", "<disk type='network'><source protocol='rbd'><host port='1'/></source><target dev='vda'/></disk>",
         VIR_ERR_XML_ERROR, "missing name for disk source"},
        {"", "<interface type='bridge'><source bridge='b'/><virtualport/></interface>", VIR_ERR_XML_ERROR,
         "missing required virtualport type"},
        {"", "<interface type='network'><source network='b'/><vlan/></interface>", VIR_ERR_XML_ERROR, "missing tag id"},
        {"", "<interface type='network'><source network='b'/><teaming type='transient'/></interface>",
         VIR_ERR_CONFIG_UNSUPPORTED, "persistent attribute must be set"},
        {"", "<serial type='file'/>", VIR_ERR_INTERNAL_ERROR, "Missing source path attribute"},
        {"", "<serial type='tcp'><source mode='bind' service='1'/></serial>", VIR_ERR_INTERNAL_ERROR, "source host"},
        {"", "<watchdog model='i6300esb' action='bark'/>", VIR_ERR_CONFIG_UNSUPPORTED, "known: reset, shutdown"},
        {"", "<sound model='trumpet'/>", VIR_ERR_XML_ERROR, "Invalid value for attribute 'model' in element 'sound'"},
        {"", "<controller type='usb' model='fast'/>", VIR_ERR_CONFIG_UNSUPPORTED, "Unknown model type 'fast'"},
        {"", "<hostdev type='scsi'><source><address bus='0' target='0' unit='0'/></source></hostdev>", VIR_ERR_XML_ERROR,
         "'adapter' name must be specified"},
        {"", "<video><model type='virtio'><resolution x='800' y='0'/></model></video>", VIR_ERR_CONFIG_UNSUPPORTED,
         "must be greater than 0"},
        {"", "<graphics type='vnc' passwdValidTo='tomorrow'/>", VIR_ERR_INTERNAL_ERROR, "YYYY-MM-DDTHH:MM:SS"},
        {"", "<audio id='1' type='oss'><input voices='0'/></audio>", VIR_ERR_XML_ERROR, "attribute 'voices'"},
        {"", "<memory model='virtio-mem'><target><size>4</size><block>3</block></target></memory>", VIR_ERR_XML_DETAIL,
         "power of two"},
        {"", "<redirdev bus='usb' type='spicevmc'/><redirfilter><usbdev version='1' allow='yes'/></redirfilter>",
         VIR_ERR_XML_ERROR, "Cannot parse USB device version 1"},
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(rows); i++)
        expect_refused(rows[i].elements, rows[i].devices, rows[i].code, rows[i].message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_chance_gave_is_kept_when_the_same_is_defined_again),
        cmocka_unit_test(what_is_another_interface_is_given_another_address),
        cmocka_unit_test(live_values_are_read_and_written_and_left_out_of_the_definition),
        cmocka_unit_test(what_does_not_fit_together_is_refused),
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(types_are_checked),
        cmocka_unit_test(hostile_numbers_and_sets_are_refused),
        cmocka_unit_test(documents_that_are_too_deep_are_refused),
        cmocka_unit_test(the_number_of_devices_is_bounded),
        cmocka_unit_test(counts_and_sizes_must_fit_together),
        cmocka_unit_test(things_that_must_differ_are_compared),
        cmocka_unit_test(strict_parsing_refuses_what_is_not_known),
        cmocka_unit_test(a_parsed_definition_knows_how_many_vcpus_run),
        cmocka_unit_test(defaults_are_filled_in),
        cmocka_unit_test(disks_get_bus_and_address_from_their_target),
        cmocka_unit_test(disks_of_a_bus_stand_together_in_order),
        cmocka_unit_test(controllers_get_an_index_and_companions_that_of_their_master),
        cmocka_unit_test(console_and_serial_port_bring_each_other),
        cmocka_unit_test(graphics_get_ports_and_listeners),
        cmocka_unit_test(memory_is_what_the_cells_have),
        cmocka_unit_test(a_running_domain_shows_its_id_and_an_inactive_one_does_not),
        cmocka_unit_test(what_any_daemon_adds_is_left_out_for_another),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
