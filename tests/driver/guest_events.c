/* Every kind of domain event that libvirt 9.0 has: where it comes from, and that it is told once, in a form that the protocol takes.
 *
 * Most come from an event of QEMU. The others come from a call; the test then calls the function that the call's handler uses. */
#include <libvirt/libvirt.h>
#include <stdio.h>
#include <string.h>

#include "conf/base/buffer.h"
#include "conf/domain.h"
#include "drivers/qemu/events.h"
#include "proto/gen/qemu.h"
#include "proto/gen/remote.h"
#include "proto/xdr.h"
#include "tests/driver/scripted.h"

enum { KINDS = VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE + 1 };

static unsigned n_heard[KINDS];

static void on_event(int event_id, const struct vq_xdr_struct *type, const void *value)
{
    VQ_AUTOBUFFER bytes = VQ_BUFFER_INIT;
    struct vq_error err = VQ_ERROR_INIT;

    assert_in_range(event_id, 0, KINDS - 1);
    n_heard[event_id]++;
    if (vq_xdr_encode(type, value, &bytes, &err) < 0)
        fail_msg("event %d: %s", event_id, err.message);
}

/* ---- Those of calls ---- */

static void device_added(void)
{
    vq_qemu_emit_device_added(guest(), "net1");
}

static void disk_change(void)
{
    vq_qemu_emit_disk_change(guest(), NULL, "/new.iso", "ide0-0-0", VIR_DOMAIN_EVENT_DISK_CHANGE_MISSING_ON_START);
}

static void block_job(void)
{
    vq_qemu_emit_block_job(guest(), "/a.img", "vda", VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT, VIR_DOMAIN_BLOCK_JOB_READY);
}

static void block_threshold(void)
{
    vq_qemu_emit_block_threshold(guest(), "vda", "/a.img", 5, 1);
}

static void tunable(void)
{
    struct vq_typed_param param = { .field = "cputune.cpu_shares", .type = VIR_TYPED_PARAM_ULLONG, .value.ul = 7 };

    vq_qemu_emit_tunable(guest(), &param, 1);
}

static void migration_iteration(void)
{
    vq_qemu_emit_migration_iteration(guest(), 2);
}

static void job_completed(void)
{
    struct vq_typed_param param = { .field = "success", .type = VIR_TYPED_PARAM_BOOLEAN, .value.b = 1 };

    vq_qemu_emit_job_completed(guest(), &param, 1);
}

static void control_error(void)
{
    vq_qemu_emit_control_error(guest());
}

/* ---- The table ---- */

static const struct {
    int id, also;            /* also: a second kind that comes with it, or -1 */
    const char *qemu;        /* QEMU's event with its data, or */
    const char *data;
    void (*emit)(void);      /* what the handler calls, or */
    const char *elsewhere;   /* why it is not looked at here */
} kinds[] = {
#define ID(name) VIR_DOMAIN_EVENT_ID_##name
    { ID(LIFECYCLE), -1, .elsewhere = "a report of a state: told with it, see the trace of every start in driver.c" },
    { ID(REBOOT), -1, .qemu = "RESET",
      .data = "{\"guest\":true,\"reason\":\"guest-reset\"}" },
    { ID(RTC_CHANGE), -1, .qemu = "RTC_CHANGE",
      .data = "{\"offset\":5,\"qom-path\":\"/rtc\"}" },
    { ID(WATCHDOG), -1, .qemu = "WATCHDOG",
      .data = "{\"action\":\"none\"}" },
    { ID(IO_ERROR), ID(IO_ERROR_REASON), .qemu = "BLOCK_IO_ERROR",
      .data = "{\"device\":\"\",\"qom-path\":\"/machine/peripheral/virtio-disk0/virtio-backend\",\"action\":\"report\",\"operation\":\"read\",\"reason\":\"x\"}" },
    { ID(GRAPHICS), -1, .qemu = "VNC_CONNECTED",
      .data = "{\"server\":{\"host\":\"::1\",\"service\":\"5900\",\"family\":\"ipv6\"},\"client\":{\"host\":\"::1\",\"service\":\"4\",\"family\":\"ipv6\"}}" },
    { ID(IO_ERROR_REASON), ID(IO_ERROR), .qemu = "BLOCK_IO_ERROR",
      .data = "{\"action\":\"ignore\",\"nospace\":true}" },
    { ID(CONTROL_ERROR), -1, .emit = control_error },
    { ID(BLOCK_JOB), ID(BLOCK_JOB_2), .emit = block_job },
    { ID(DISK_CHANGE), -1, .emit = disk_change },
    { ID(TRAY_CHANGE), -1, .qemu = "DEVICE_TRAY_MOVED",
      .data = "{\"device\":\"\",\"id\":\"virtio-disk0\",\"tray-open\":true}" },
    { ID(PMWAKEUP), -1, .qemu = "WAKEUP",
      .data = "{}" },
    { ID(PMSUSPEND), -1, .qemu = "SUSPEND",
      .data = "{}" },
    { ID(BALLOON_CHANGE), -1, .qemu = "BALLOON_CHANGE",
      .data = "{\"actual\":16777216}" },
    { ID(PMSUSPEND_DISK), -1, .qemu = "SUSPEND_DISK",
      .data = "{}" },
    { ID(DEVICE_REMOVED), -1, .qemu = "DEVICE_DELETED",
      .data = "{\"device\":\"net1\",\"path\":\"/machine/peripheral/net1\"}" },
    { ID(BLOCK_JOB_2), ID(BLOCK_JOB), .emit = block_job },
    { ID(TUNABLE), -1, .emit = tunable },
    { ID(AGENT_LIFECYCLE), -1, .qemu = "VSERPORT_CHANGE",
      .data = "{\"id\":\"channel0\",\"open\":false}" },
    { ID(DEVICE_ADDED), -1, .emit = device_added },
    { ID(MIGRATION_ITERATION), -1, .emit = migration_iteration },
    { ID(JOB_COMPLETED), -1, .emit = job_completed },
    { ID(DEVICE_REMOVAL_FAILED), -1, .qemu = "DEVICE_UNPLUG_GUEST_ERROR",
      .data = "{\"device\":\"net1\",\"path\":\"/machine/peripheral/net1\"}" },
    { ID(METADATA_CHANGE), -1, .elsewhere = "told by the call that changes the metadata: tests/unit/qemudef_metadata.c" },
    { ID(BLOCK_THRESHOLD), -1, .emit = block_threshold },
    { ID(MEMORY_FAILURE), -1, .qemu = "MEMORY_FAILURE",
      .data = "{\"recipient\":\"guest\",\"action\":\"inject\",\"flags\":{\"action-required\":true,\"recursive\":false}}" },
    { ID(MEMORY_DEVICE_SIZE_CHANGE), -1, .qemu = "MEMORY_DEVICE_SIZE_CHANGE",
      .data = "{\"id\":\"virtiomem0\",\"size\":1048576,\"qom-path\":\"/m\"}" },
#undef ID
};

static void qemu_says(const char *name, const char *data)
{
    char command[1024];
    const struct vq_qemu_domain_monitor_command_args args = { .cmd = command };

    (void)snprintf(command, sizeof(command), "{\"execute\":\"fake-event\",\"arguments\":{\"name\":\"%s\",\"data\":%s}}", name, data);
    assert_int_equal(fake_call(driver, VQ_PROGRAM_QEMU, "domain_monitor_command", domain, &args), VIR_ERR_OK);
}

static void every_kind_of_event_is_told_once(void **state)
{
    (void)state;
    assert_int_equal(VQ_N_ELEMENTS(kinds), KINDS);
    start("agent\n");
    fake_on_event = on_event;
    for (size_t i = 0; i < VQ_N_ELEMENTS(kinds); i++) {
        assert_int_equal(kinds[i].id, i);
        memset(n_heard, 0, sizeof(n_heard));
        if (kinds[i].elsewhere != NULL)
            continue;
        if (kinds[i].qemu != NULL)
            qemu_says(kinds[i].qemu, kinds[i].data);
        else
            kinds[i].emit();
        for (int kind = 0; kind < KINDS; kind++)
            if (n_heard[kind] != (kind == kinds[i].id || kind == kinds[i].also))
                fail_msg("for kind %zu, kind %d was told %u times", i, kind, n_heard[kind]);
    }
    fake_on_event = NULL;
}

/* Whatever a guest makes QEMU say. */
static void events_with_odd_data_harm_nobody(void **state)
{
    static const char *const odd[] = { "{}", "{\"action\":7,\"offset\":\"x\",\"device\":[],\"id\":{},\"open\":1,\"size\":-5,\"actual\":\"x\"}",
                                       "{\"recipient\":\"nobody\",\"action\":\"dance\",\"flags\":3}" };

    (void)state;
    start("agent\n");
    fake_on_event = on_event;
    for (size_t i = 0; i < VQ_N_ELEMENTS(kinds); i++)
        for (size_t j = 0; kinds[i].qemu != NULL && j < VQ_N_ELEMENTS(odd); j++)
            qemu_says(kinds[i].qemu, odd[j]);
    fake_on_event = NULL;
    must("domain_get_info");
}

static void a_panic_that_loads_another_kernel_is_told_and_changes_nothing(void **state)
{
    (void)state;
    start("agent\n");
    fake.trace[0] = '\0';
    qemu_says("GUEST_CRASHLOADED", "{\"action\":\"run\"}");
    assert_string_equal(fake.trace, "1/1+8.1 ");
}

static void a_guest_whose_reset_ends_it_is_ended(void **state)
{
    (void)state;
    start("agent\n");
    guest()->live->on_reboot = VQ_LIFECYCLE_DESTROY;
    qemu_says("RESET", "{\"guest\":true,\"reason\":\"guest-reset\"}");
    assert_true(fake_host_until(has_ended, NULL));
    assert_int_equal(domain->info.reason, VIR_DOMAIN_SHUTOFF_SHUTDOWN);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, scripted_setup, scripted_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(every_kind_of_event_is_told_once),
        CASE(events_with_odd_data_harm_nobody),
        CASE(a_panic_that_loads_another_kernel_is_told_and_changes_nothing),
        CASE(a_guest_whose_reset_ends_it_is_ended),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
