/* The driver with one guest whose QEMU does what a script says: see scripted.h. */
#include "tests/driver/scripted.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/domain.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/definition.h"
#include "proto/gen/remote.h"

struct vq_driver *const driver = &vq_qemu_driver;
char emulator[128];
struct fake_domain *domain;

static struct vq_qemu *qemu(void)
{
    return driver->state;
}

void use_script(const char *script)
{
    char path[160];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s.script", emulator);
    file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(script, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static struct vq_qemu_capabilities *caps;

static void caps_known(const struct vq_qemu_capabilities *found, const struct vq_error *err, void *data)
{
    (void)data;
    if (err != NULL)
        fail_msg("%s", err->message);
    caps = vq_qemu_capabilities_ref(found);
}

static bool has_caps(void *data)
{
    (void)data;
    return caps != NULL;
}

#define CHANNEL "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
#define DISK "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='%s'/><target dev='vda' bus='virtio'/>" \
             "<address type='pci' domain='0' bus='0' slot='9' function='0'/></disk>"

void define(bool has_channel)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_domain *definition = NULL;
    char text[4096], filled[2048], image[160];
    FILE *file;
    char *xml;

    (void)snprintf(emulator, sizeof(emulator), "%s/qemu", fake.dir);
    assert_int_equal(symlink(VQ_FAKE_QEMU, emulator), 0);
    (void)snprintf(image, sizeof(image), "%s/a.img", fake.dir);
    file = fopen(image, "we");
    assert_non_null(file);
    (void)fclose(file);
    (void)snprintf(filled, sizeof(filled), "%s" DISK, has_channel ? CHANNEL : "", image);
    (void)snprintf(text, sizeof(text),
                   "<domain type='qemu'><name>a1</name><uuid>%s01</uuid><memory unit='MiB'>32</memory><vcpu>4</vcpu>"
                   "<os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>"
                   "<devices><emulator>%s</emulator>%s</devices></domain>", fake_uuid_prefix(), emulator, filled);
    if (vq_domain_parse(text, 0, &definition, &err) < 0)
        fail_msg("%s", err.message);
    caps = NULL;
    vq_qemu_emulators_get(qemu()->emulators, emulator, caps_known, NULL);
    assert_true(fake_host_until(has_caps, NULL));
    if (vq_qemu_definition_fill(definition, caps, fake.host.random, &err) < 0)
        fail_msg("%s", err.message);
    xml = vq_domain_format(definition, VQ_FORMAT_INACTIVE);
    domain = fake_domain_add(definition->name, xml, true);
    free(xml);
    vq_domain_free(definition);
    vq_qemu_capabilities_free(caps);
}

struct vq_qemu_guest *guest(void)
{
    return vq_qemu_guest_find(qemu(), domain->info.uuid);
}

int call_with(const char *procedure, const void *args)
{
    return fake_call(driver, VQ_PROGRAM_REMOTE, procedure, domain, args);
}

int call(const char *procedure)
{
    static const uint8_t no_args[256];

    return call_with(procedure, no_args);
}

void must(const char *procedure)
{
    int code = call(procedure);

    if (code != VIR_ERR_OK)
        fail_msg("%s: %d %s", procedure, code, fake_error.message);
}

bool has_agent(void *data)
{
    (void)data;
    return guest() != NULL && guest()->agent != NULL;
}

bool has_no_agent(void *data)
{
    return !has_agent(data);
}

bool has_ended(void *data)
{
    (void)data;
    return guest() == NULL;
}

/* Running, with an agent that listens. */
void start(const char *script)
{
    define(true);
    use_script(script);
    must("domain_create");
    assert_true(fake_host_until(has_agent, NULL));
}

int scripted_setup(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    fake_on_event = NULL;
    fake_host_init(false);
    return driver->start(driver, &fake.host, &err);
}

static bool is_stopped;

static void stopped(void *data)
{
    (void)data;
    is_stopped = true;
}

static void stop_driver(void)
{
    is_stopped = false;
    driver->stop(driver, stopped, NULL);
    while (!is_stopped)
        (void)uv_run(&fake.loop, UV_RUN_ONCE);
}

int scripted_teardown(void **state)
{
    (void)state;
    if (domain != NULL && guest() != NULL)
        (void)call("domain_destroy");
    domain = NULL;
    stop_driver();
    fake_host_done(true);
    return 0;
}

void restart(void)
{
    struct vq_domain_info info = domain->info;
    char *name = strdup(domain->name), *xml = strdup(domain->xml);
    struct vq_error err = VQ_ERROR_INIT;

    stop_driver();
    fake_host_done(false);
    fake_host_init(true);
    domain = fake_domain_add(name, xml, true);
    info.name = domain->name;
    domain->info = info;
    free(name);
    free(xml);
    assert_int_equal(driver->start(driver, &fake.host, &err), 0);
    driver->recover(driver);
}
