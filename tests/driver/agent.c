/* The agent inside a guest, with a QEMU and an agent that do what a script says. */
#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "conf/domain.h"
#include "drivers/qemu/agent.h"
#include "proto/gen/qemu.h"
#include "proto/gen/remote.h"
#include "tests/driver/scripted.h"

static char heard[65536]; /* what the last reply held */

/* What the agent was asked since the last look, without what made sure that it listens. */
static const char *asked(void)
{
    static char text[8192];
    char path[160];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s.asked", emulator);
    file = fopen(path, "re");
    if (file == NULL)
        return "";
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    (void)fclose(file);
    (void)unlink(path);
    text[strcspn(text, "\n")] = '\0';
    return text;
}

static void hear(const char *fmt, ...) VQ_PRINTF(1, 2);
static void hear(const char *fmt, ...)
{
    size_t length = strlen(heard);
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(heard + length, sizeof(heard) - length, fmt, args);
    va_end(args);
}

static void hear_params(const struct vq_typed_param *params, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (params[i].type == VIR_TYPED_PARAM_STRING)
            hear("%s=%s ", params[i].field, params[i].value.s);
        else if (params[i].type == VIR_TYPED_PARAM_ULLONG)
            hear("%s=%llu ", params[i].field, (unsigned long long)params[i].value.ul);
        else
            hear("%s=%d ", params[i].field, params[i].value.i);
    }
}

static void on_reply(const struct vq_request *request)
{
    const void *ret = request->ret;

    heard[0] = '\0';
    switch (request->procedure->number) {
    case VQ_REMOTE_DOMAIN_GET_GUEST_INFO:
        hear_params(((const struct vq_remote_domain_get_guest_info_ret *)ret)->params,
                    ((const struct vq_remote_domain_get_guest_info_ret *)ret)->n_params);
        break;
    case VQ_REMOTE_DOMAIN_GET_GUEST_VCPUS:
        hear_params(((const struct vq_remote_domain_get_guest_vcpus_ret *)ret)->params,
                    ((const struct vq_remote_domain_get_guest_vcpus_ret *)ret)->n_params);
        break;
    case VQ_REMOTE_DOMAIN_GET_HOSTNAME:
        hear("%s", ((const struct vq_remote_domain_get_hostname_ret *)ret)->hostname);
        break;
    case VQ_REMOTE_DOMAIN_INTERFACE_ADDRESSES: {
        const struct vq_remote_domain_interface_addresses_ret *own = ret;

        for (uint32_t i = 0; i < own->n_ifaces; i++) {
            hear("%s %s", own->ifaces[i].name, own->ifaces[i].hwaddr != NULL ? own->ifaces[i].hwaddr : "-");
            for (uint32_t j = 0; j < own->ifaces[i].n_addrs; j++)
                hear(" %d:%s/%u", own->ifaces[i].addrs[j].type, own->ifaces[i].addrs[j].addr, own->ifaces[i].addrs[j].prefix);
            hear("; ");
        }
        break;
    }
    case VQ_REMOTE_DOMAIN_GET_FSINFO: {
        const struct vq_remote_domain_get_fsinfo_ret *own = ret;

        for (uint32_t i = 0; i < own->n_info; i++)
            hear("%s %s %s %s; ", own->info[i].mountpoint, own->info[i].name, own->info[i].fstype,
                 own->info[i].n_dev_aliases > 0 ? own->info[i].dev_aliases[0] : "-");
        break;
    }
    case VQ_REMOTE_DOMAIN_AUTHORIZED_SSH_KEYS_GET: {
        const struct vq_remote_domain_authorized_ssh_keys_get_ret *own = ret;

        for (uint32_t i = 0; i < own->n_keys; i++)
            hear("%s; ", own->keys[i]);
        break;
    }
    default:
        break;
    }
    if (request->procedure->program == VQ_PROGRAM_QEMU && strcmp(request->procedure->name, "domain_agent_command") == 0)
        hear("%s", ((const struct vq_qemu_domain_agent_command_ret *)ret)->result);
}

static int setup(void **state)
{
    fake_on_reply = on_reply;
    return scripted_setup(state);
}

static void wait_seconds(int seconds)
{
    const struct vq_remote_domain_agent_set_response_timeout_args args = { .timeout = seconds };

    assert_int_equal(call_with("domain_agent_set_response_timeout", &args), VIR_ERR_OK);
}

/* ---- Without an agent ---- */

static const char *const agent_calls[] = {
    "domain_get_fsinfo",      "domain_fsfreeze",       "domain_fsthaw",          "domain_fstrim",         "domain_get_guest_info",
    "domain_get_guest_vcpus", "domain_get_time",       "domain_set_time",        "domain_get_hostname",
    "domain_authorized_ssh_keys_get",
};

static void each_call_says(int code, const char *text)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(agent_calls); i++) {
        assert_int_equal(call(agent_calls[i]), code);
        assert_string_equal(fake_error.message, text);
    }
}

static void a_guest_without_a_channel_says_that_no_agent_is_configured(void **state)
{
    (void)state;
    define(false);
    use_script("");
    assert_int_equal(call("domain_get_time"), VIR_ERR_OPERATION_INVALID);
    must("domain_create");
    each_call_says(VIR_ERR_ARGUMENT_UNSUPPORTED, "QEMU guest agent is not configured");
}

static void a_channel_that_nobody_has_open_is_not_connected(void **state)
{
    (void)state;
    define(true);
    use_script("");
    must("domain_create");
    assert_non_null(strstr(fake.trace, "event18 ")); /* told at the start, as libvirtd does */
    each_call_says(VIR_ERR_AGENT_UNRESPONSIVE, "QEMU guest agent is not connected");
}

static void a_paused_guest_is_not_asked(void **state)
{
    (void)state;
    start("agent\n");
    must("domain_suspend");
    each_call_says(VIR_ERR_OPERATION_INVALID, "domain is not running");
    assert_string_equal(asked(), "");
}

static void a_socket_that_another_process_listens_at_is_refused(void **state)
{
    const struct vq_qemu_domain_monitor_command_args open = {
        .cmd = "{\"execute\":\"fake-event\",\"arguments\":{\"name\":\"VSERPORT_CHANGE\",\"data\":{\"id\":\"channel0\",\"open\":true}}}"
    };
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const char *path;

    (void)state;
    define(true);
    use_script("");
    must("domain_create");
    path = guest()->live->devices.channels[0]->source.path;
    assert_int_equal(unlink(path), 0);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(fake_call(driver, VQ_PROGRAM_QEMU, "domain_monitor_command", domain, &open), VIR_ERR_OK);
    each_call_says(VIR_ERR_AGENT_UNRESPONSIVE, "QEMU guest agent is not available due to an error");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/run/other.sock", path), 0);
    each_call_says(VIR_ERR_AGENT_UNRESPONSIVE, "QEMU guest agent is not available due to an error");
    (void)close(fd);
}

/* ---- What it answers ---- */

static void answers_become_the_replies_of_the_protocol(void **state)
{
    const struct vq_remote_domain_get_guest_info_args everything = { .types = 0 };

    (void)state;
    start("agent\n"
          "agent_answer guest-get-host-name {\"return\": {\"host-name\": \"inside\"}}\n"
          "agent_answer guest-get-time {\"return\": 1700000000123456789}\n"
          "agent_answer guest-get-fsinfo {\"return\": [{\"name\": \"vda1\", \"mountpoint\": \"/\", \"type\": \"ext4\", \"total-bytes\": 100, "
          "\"used-bytes\": 40, \"disk\": [{\"bus-type\": \"virtio\", \"bus\": 0, \"target\": 0, \"unit\": 0, \"serial\": \"s1\", \"dev\": \"/dev/vda1\", "
          "\"pci-controller\": {\"domain\": 0, \"bus\": 0, \"slot\": 9, \"function\": 0}}]}]}\n"
          "agent_answer guest-get-users {\"return\": [{\"user\": \"root\", \"login-time\": 12.5}]}\n"
          "agent_answer guest-get-timezone {\"return\": {\"zone\": \"CET\", \"offset\": 3600}}\n"
          "agent_answer guest-get-osinfo {\"return\": {\"id\": \"debian\", \"kernel-release\": \"6.1\"}}\n"
          "agent_answer guest-get-disks {\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"unknown\"}}\n"
          "agent_answer guest-network-get-interfaces {\"return\": [{\"name\": \"lo\", \"ip-addresses\": [{\"ip-address\": \"::1\", "
          "\"ip-address-type\": \"ipv6\", \"prefix\": 128}]}, {\"name\": \"eth0\", \"hardware-address\": \"52:54:00:00:00:01\"}, {\"name\": \"eth0:1\", "
          "\"ip-addresses\": [{\"ip-address\": \"192.0.2.7\", \"ip-address-type\": \"ipv4\", \"prefix\": 24}]}]}\n");
    must("domain_get_hostname");
    assert_string_equal(heard, "inside");
    must("domain_get_time");
    assert_int_equal(((struct vq_remote_domain_get_time_ret *)(void *)fake_ret)->seconds, 1700000000);
    assert_int_equal(((struct vq_remote_domain_get_time_ret *)(void *)fake_ret)->nseconds, 123456789);
    must("domain_get_fsinfo");
    assert_string_equal(heard, "/ vda1 ext4 vda; ");
    assert_int_equal(call_with("domain_get_guest_info", &everything), VIR_ERR_OK);
    assert_string_equal(heard, "user.count=1 user.0.name=root user.0.login-time=12500 os.id=debian os.kernel-release=6.1 "
                               "timezone.name=CET timezone.offset=3600 hostname=inside fs.count=1 fs.0.name=vda1 fs.0.mountpoint=/ "
                               "fs.0.fstype=ext4 fs.0.total-bytes=100 fs.0.used-bytes=40 fs.0.disk.count=1 fs.0.disk.0.alias=vda "
                               "fs.0.disk.0.serial=s1 fs.0.disk.0.device=/dev/vda1 if.count=2 if.0.name=lo if.0.addr.count=1 "
                               "if.0.addr.0.type=ipv6 if.0.addr.0.addr=::1 if.0.addr.0.prefix=128 if.1.name=eth0 "
                               "if.1.hwaddr=52:54:00:00:00:01 if.1.addr.count=1 if.1.addr.0.type=ipv4 if.1.addr.0.addr=192.0.2.7 "
                               "if.1.addr.0.prefix=24 ");
}

static void what_the_agent_does_not_know_is_an_error_only_when_it_was_asked_for(void **state)
{
    const struct vq_remote_domain_get_guest_info_args disks = { .types = VIR_DOMAIN_GUEST_INFO_DISKS };
    const struct vq_remote_domain_get_guest_info_args wrong = { .types = 1u << 20 };

    (void)state;
    start("agent\nagent_answer guest-get-disks {\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"not found\"}}\n");
    assert_int_equal(call_with("domain_get_guest_info", &disks), VIR_ERR_INTERNAL_ERROR);
    assert_string_equal(fake_error.message, "unable to execute QEMU agent command 'guest-get-disks': not found");
    assert_int_equal(call_with("domain_get_guest_info", &wrong), VIR_ERR_INVALID_ARG);
}

static void interfaces_without_names_and_without_end_are_refused(void **state)
{
    const struct vq_remote_domain_interface_addresses_args args = { .source = VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT };

    (void)state;
    start("agent\nagent_answer guest-network-get-interfaces {\"return\": [{}]}\n");
    assert_int_equal(call_with("domain_interface_addresses", &args), VIR_ERR_INTERNAL_ERROR);
    use_script("agent_answer guest-network-get-interfaces {\"return\": {\"a\": 1}}\n");
    assert_int_equal(call_with("domain_interface_addresses", &args), VIR_ERR_INTERNAL_ERROR);
    use_script("agent_answer guest-network-get-interfaces {\"return\": [{\"name\": \"a\"}, {\"name\": \"a\"}, {\"name\": \"a\"}]}\n");
    assert_int_equal(call_with("domain_interface_addresses", &args), VIR_ERR_OK);
    assert_string_equal(heard, "a -; ");
}

static void arguments_reach_the_agent_as_it_wants_them(void **state)
{
    const char *mountpoints[] = { "/", "/home" }, *keys[] = { "ssh-rsa A me" };
    const struct vq_remote_domain_fsfreeze_args freeze = { .mountpoints = mountpoints, .n_mountpoints = 2 };
    const struct vq_remote_domain_set_user_password_args password = { .user = "root", .password = "four",
                                                                      .flags = VIR_DOMAIN_PASSWORD_ENCRYPTED };
    const struct vq_remote_domain_set_time_args time = { .seconds = 5, .nseconds = 7 };
    const struct vq_remote_domain_set_time_args large = { .seconds = INT64_MAX };
    const struct vq_remote_domain_authorized_ssh_keys_set_args append = { .user = "me", .keys = keys, .n_keys = 1,
                                                                          .flags = VIR_DOMAIN_AUTHORIZED_SSH_KEYS_SET_APPEND };
    const struct vq_remote_domain_authorized_ssh_keys_set_args both = { .user = "me", .keys = keys, .n_keys = 1, .flags = 3 };
    const struct vq_remote_domain_fstrim_args trim = { .minimum = 4096 }, trim_one = { .mountPoint = "/" };

    (void)state;
    start("agent\nagent_answer guest-fsfreeze-freeze-list {\"return\": 2}\n");
    assert_int_equal(call_with("domain_fsfreeze", &freeze), VIR_ERR_OK);
    assert_int_equal(((struct vq_remote_domain_fsfreeze_ret *)(void *)fake_ret)->filesystems, 2);
    assert_string_equal(asked(), "{\"execute\":\"guest-fsfreeze-freeze-list\",\"arguments\":{\"mountpoints\":[\"/\",\"/home\"]}}");
    assert_int_equal(call_with("domain_set_user_password", &password), VIR_ERR_OK);
    assert_string_equal(asked(), "{\"execute\":\"guest-set-user-password\",\"arguments\":{\"crypted\":true,\"username\":\"root\","
                                 "\"password\":\"Zm91cg==\"}}");
    assert_int_equal(call_with("domain_set_time", &time), VIR_ERR_OK);
    assert_string_equal(asked(), "{\"execute\":\"guest-set-time\",\"arguments\":{\"time\":5000000007}}");
    assert_int_equal(call_with("domain_set_time", &large), VIR_ERR_INVALID_ARG);
    assert_int_equal(call_with("domain_authorized_ssh_keys_set", &append), VIR_ERR_OK);
    assert_string_equal(asked(), "{\"execute\":\"guest-ssh-add-authorized-keys\",\"arguments\":{\"username\":\"me\","
                                 "\"keys\":[\"ssh-rsa A me\"],\"reset\":false}}");
    assert_int_equal(call_with("domain_authorized_ssh_keys_set", &both), VIR_ERR_INVALID_ARG);
    assert_int_equal(call_with("domain_fstrim", &trim), VIR_ERR_OK);
    assert_string_equal(asked(), "{\"execute\":\"guest-fstrim\",\"arguments\":{\"minimum\":4096}}");
    assert_int_equal(call_with("domain_fstrim", &trim_one), VIR_ERR_ARGUMENT_UNSUPPORTED);
}

#define FOUR_VCPUS "[{\"logical-id\": 0, \"online\": true, \"can-offline\": false}, {\"logical-id\": 1, \"online\": true, \"can-offline\": true}, " \
                   "{\"logical-id\": 2, \"online\": true, \"can-offline\": true}, {\"logical-id\": 3, \"online\": false, \"can-offline\": true}]"

static void vcpus_are_switched_inside_the_guest(void **state)
{
    const struct vq_remote_domain_set_guest_vcpus_args off = { .cpumap = "1-2", .state = 0 }, none = { .cpumap = "7", .state = 1 };
    const struct vq_remote_domain_set_vcpus_flags_args one = { .nvcpus = 1, .flags = VIR_DOMAIN_VCPU_GUEST | VIR_DOMAIN_AFFECT_LIVE };
    const struct vq_remote_domain_set_vcpus_flags_args nine = { .nvcpus = 9, .flags = VIR_DOMAIN_VCPU_GUEST | VIR_DOMAIN_AFFECT_LIVE };
    const struct vq_remote_domain_get_vcpus_flags_args count = { .flags = VIR_DOMAIN_VCPU_GUEST | VIR_DOMAIN_AFFECT_LIVE };

    (void)state;
    start("agent\nagent_answer guest-get-vcpus {\"return\": " FOUR_VCPUS "}\nagent_answer guest-set-vcpus {\"return\": 2}\n");
    must("domain_get_guest_vcpus");
    assert_string_equal(heard, "vcpus=0-3 online=0-2 offlinable=1-3 ");
    (void)asked();
    assert_int_equal(call_with("domain_set_guest_vcpus", &off), VIR_ERR_OK);
    assert_int_equal(call_with("domain_set_guest_vcpus", &none), VIR_ERR_INVALID_ARG);
    assert_string_equal(fake_error.message, "guest is missing vCPUs '7'");
    assert_int_equal(call_with("domain_get_vcpus_flags", &count), VIR_ERR_OK);
    assert_int_equal(((struct vq_remote_domain_get_vcpus_flags_ret *)(void *)fake_ret)->num, 3);
    assert_int_equal(call_with("domain_set_vcpus_flags", &one), VIR_ERR_OK);
    assert_int_equal(call_with("domain_set_vcpus_flags", &nine), VIR_ERR_INVALID_ARG);
}

static void any_command_goes_to_the_agent_and_back(void **state)
{
    const struct vq_qemu_domain_agent_command_args ping = { .cmd = "{\"execute\":\"guest-ping\"}", .timeout = -2 };
    const struct vq_qemu_domain_agent_command_args low = { .cmd = "{\"execute\":\"guest-ping\"}", .timeout = -3 };
    const struct vq_qemu_domain_agent_command_args text = { .cmd = "guest-ping", .timeout = -2 };

    (void)state;
    start("agent\nagent_answer guest-ping {\"return\": {\"large\": 18446744073709551615}}\n");
    assert_int_equal(fake_call(driver, VQ_PROGRAM_QEMU, "domain_agent_command", domain, &ping), VIR_ERR_OK);
    assert_non_null(strstr(heard, "{\"return\":{\"large\":1.8446744073709"));
    assert_int_equal(fake_call(driver, VQ_PROGRAM_QEMU, "domain_agent_command", domain, &low), VIR_ERR_INVALID_ARG);
    assert_string_equal(fake_error.message, "guest agent timeout '-3' is less than the minimum '-2'");
    assert_int_equal(fake_call(driver, VQ_PROGRAM_QEMU, "domain_agent_command", domain, &text), VIR_ERR_INTERNAL_ERROR);
}

/* ---- Agents that misbehave ---- */

static void the_next_call_is_well(void)
{
    use_script("agent\nagent_answer guest-get-host-name {\"return\": {\"host-name\": \"after\"}}\n");
    must("domain_get_hostname");
    assert_string_equal(heard, "after");
}

static void an_agent_that_does_not_answer_fails_its_own_call_only(void **state)
{
    (void)state;
    start("agent\nagent_answer guest-get-time silent\n");
    wait_seconds(1);
    assert_int_equal(call("domain_get_time"), VIR_ERR_AGENT_UNRESPONSIVE);
    assert_string_equal(fake_error.message, "Guest agent not available for now");
    the_next_call_is_well();
    use_script("agent\nagent_answer guest-sync-delimited silent\n");
    assert_int_equal(call("domain_get_time"), VIR_ERR_AGENT_UNRESPONSIVE);
    the_next_call_is_well();
    wait_seconds(0);
    use_script("agent\nagent_answer guest-get-time silent\n");
    assert_int_equal(call("domain_get_time"), VIR_ERR_AGENT_UNRESPONSIVE);
    wait_seconds(VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_DEFAULT);
    the_next_call_is_well();
}

static void an_answer_that_comes_too_late_is_not_taken_for_the_next(void **state)
{
    (void)state;
    start("agent\nagent_answer guest-get-time late 1300 {\"return\": 1}\n");
    wait_seconds(1);
    assert_int_equal(call("domain_get_time"), VIR_ERR_AGENT_UNRESPONSIVE);
    the_next_call_is_well();
}

/* As libvirtd: whatever became of the question. */
static void a_name_that_the_agent_does_not_tell_is_not_found(void **state)
{
    (void)state;
    start("agent\nagent_answer guest-get-host-name garbage\n");
    assert_int_equal(call("domain_get_hostname"), VIR_ERR_NO_HOSTNAME);
    the_next_call_is_well();
}

static void garbage_fails_its_own_call_only(void **state)
{
    static const char *const answers[] = { "garbage", "[1]", "{\"neither\": 1}", "endless", "{\"return\": \"noon\"}",
                                           "{\"error\": \"text\"}" };
    char script[256];

    (void)state;
    start("agent\n");
    for (size_t i = 0; i < VQ_N_ELEMENTS(answers); i++) {
        (void)snprintf(script, sizeof(script), "agent\nagent_answer guest-get-time %s\n", answers[i]);
        use_script(script);
        assert_int_equal(call("domain_get_time"), VIR_ERR_INTERNAL_ERROR);
        the_next_call_is_well();
    }
    wait_seconds(1); /* bounds the wait for a number that never comes */
    use_script("agent\nagent_answer guest-sync-delimited garbage\n");
    assert_int_equal(call("domain_get_time"), VIR_ERR_AGENT_UNRESPONSIVE);
    use_script("agent\nagent_answer guest-sync-delimited \xff{\"return\": 1}\n");
    assert_int_equal(call("domain_get_time"), VIR_ERR_AGENT_UNRESPONSIVE);
    the_next_call_is_well();
}

static void an_agent_that_goes_in_the_middle_is_told_to_have_disappeared(void **state)
{
    (void)state;
    start("agent\nagent_answer guest-get-time shut\n");
    fake.trace[0] = '\0';
    assert_int_equal(call("domain_get_time"), VIR_ERR_AGENT_UNRESPONSIVE);
    assert_string_equal(fake_error.message, "Guest agent disappeared while executing command");
    assert_true(fake_host_until(has_no_agent, NULL));
    assert_string_equal(fake.trace, "event18 ");
    assert_int_equal(call("domain_get_time"), VIR_ERR_AGENT_UNRESPONSIVE);
    assert_string_equal(fake_error.message, "QEMU guest agent is not connected");
}

static void a_socket_that_closes_in_the_middle_ends_the_call(void **state)
{
    (void)state;
    start("agent\nagent_answer guest-get-time close\n");
    assert_int_equal(call("domain_get_time"), VIR_ERR_AGENT_UNRESPONSIVE);
    assert_string_equal(fake_error.message, "Guest agent disappeared while executing command");
    must("domain_suspend"); /* the guest itself is well */
}


static unsigned n_answered, n_refused;
static char order[256];

static void one_answered(const struct vq_agent_answer *answer, void *data)
{
    n_answered++;
    n_refused += answer->err != NULL;
    if (strlen(order) < sizeof(order) - 2)
        (void)strcat(order, data);
}

static bool all_are_answered(void *data)
{
    return n_answered == *(unsigned *)data;
}

static void calls_wait_for_each_other_and_not_without_end(void **state)
{
    static char letters[VQ_AGENT_CALLS_MAX + 2][2];
    unsigned all = VQ_AGENT_CALLS_MAX + 2;

    (void)state;
    start("agent\n");
    n_answered = n_refused = 0;
    order[0] = '\0';
    for (unsigned i = 0; i < all; i++) {
        letters[i][0] = (char)('A' + (int)i);
        vq_agent_call(guest(), "guest-ping", NULL, 5, one_answered, letters[i]);
    }
    assert_int_equal(n_answered, 2); /* there was no more room for these */
    assert_int_equal(n_refused, 2);
    assert_true(fake_host_until(all_are_answered, &all));
    assert_int_equal(n_refused, 2);
    assert_string_equal(order + 2, "ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`");
}

static void calls_are_answered_when_the_guest_ends(void **state)
{
    unsigned all = 3;

    (void)state;
    start("agent\nagent_answer guest-ping silent\n");
    n_answered = n_refused = 0;
    order[0] = '\0';
    for (unsigned i = 0; i < all; i++)
        vq_agent_call(guest(), "guest-ping", NULL, 5, one_answered, "x");
    must("domain_destroy");
    assert_int_equal(n_refused, 3);
}

static void a_daemon_that_comes_back_asks_on(void **state)
{
    (void)state;
    start("agent\n");
    wait_seconds(3);
    restart();
    assert_true(fake_host_until(has_agent, NULL));
    assert_int_equal(guest()->agent_timeout, 3);
    the_next_call_is_well();
}

/* ---- Power ---- */

static void a_shutdown_by_the_agent_is_over_with_the_event(void **state)
{
    const struct vq_remote_domain_shutdown_flags_args agent = { .flags = VIR_DOMAIN_SHUTDOWN_GUEST_AGENT };

    (void)state;
    start("agent\nagent_answer guest-shutdown event SHUTDOWN\n");
    assert_int_equal(call_with("domain_shutdown_flags", &agent), VIR_ERR_OK);
    assert_string_equal(asked(), "{\"execute\":\"guest-shutdown\",\"arguments\":{\"mode\":\"powerdown\"}}");
    assert_true(fake_host_until(has_ended, NULL));
    assert_int_equal(domain->info.reason, VIR_DOMAIN_SHUTOFF_SHUTDOWN);
}

static void the_agent_is_first_and_the_button_second(void **state)
{
    (void)state;
    start("agent\nagent_answer guest-shutdown {\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n");
    must("domain_shutdown");
    assert_string_equal(asked(), "{\"execute\":\"guest-shutdown\",\"arguments\":{\"mode\":\"powerdown\"}}");
    assert_true(fake_host_until(has_ended, NULL));
}

static void an_agent_that_was_named_alone_is_not_replaced_by_the_button(void **state)
{
    const struct vq_remote_domain_shutdown_flags_args agent = { .flags = VIR_DOMAIN_SHUTDOWN_GUEST_AGENT };
    const struct vq_remote_domain_shutdown_flags_args initctl = { .flags = VIR_DOMAIN_SHUTDOWN_INITCTL };
    const struct vq_remote_domain_reboot_args reboot = { .flags = VIR_DOMAIN_REBOOT_GUEST_AGENT };

    (void)state;
    start("agent\nagent_answer guest-shutdown {\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n");
    assert_int_equal(call_with("domain_shutdown_flags", &agent), VIR_ERR_INTERNAL_ERROR);
    assert_string_equal(fake_error.message, "unable to execute QEMU agent command 'guest-shutdown': no");
    assert_int_equal(call_with("domain_shutdown_flags", &initctl), VIR_ERR_INVALID_ARG);
    (void)asked();
    use_script("agent\nagent_answer guest-shutdown event RESET\n");
    fake.trace[0] = '\0';
    assert_int_equal(call_with("domain_reboot", &reboot), VIR_ERR_OK);
    assert_string_equal(asked(), "{\"execute\":\"guest-shutdown\",\"arguments\":{\"mode\":\"reboot\"}}");
    assert_string_equal(fake.trace, "event1 ");
    assert_int_equal(domain->info.state, VIR_DOMAIN_RUNNING);
}

static void a_guest_is_put_to_sleep_by_its_agent(void **state)
{
    const struct vq_remote_domain_pm_suspend_for_duration_args memory = { .target = VIR_NODE_SUSPEND_TARGET_MEM };
    const struct vq_remote_domain_pm_suspend_for_duration_args later = { .duration = 5 };
    const struct vq_remote_domain_pm_suspend_for_duration_args odd = { .target = 9 };

    (void)state;
    start("agent\nagent_answer guest-suspend-ram event SUSPEND\n");
    assert_int_equal(call_with("domain_pm_suspend_for_duration", &later), VIR_ERR_ARGUMENT_UNSUPPORTED);
    assert_int_equal(call_with("domain_pm_suspend_for_duration", &odd), VIR_ERR_INVALID_ARG);
    assert_int_equal(call_with("domain_pm_suspend_for_duration", &memory), VIR_ERR_OK);
    assert_int_equal(domain->info.state, VIR_DOMAIN_PMSUSPENDED);
    assert_int_equal(call("domain_get_time"), VIR_ERR_OPERATION_INVALID);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, scripted_teardown)

/* With an argument: the tests whose names match it. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CASE(a_guest_without_a_channel_says_that_no_agent_is_configured),
        CASE(a_channel_that_nobody_has_open_is_not_connected),
        CASE(a_paused_guest_is_not_asked),
        CASE(a_socket_that_another_process_listens_at_is_refused),
        CASE(answers_become_the_replies_of_the_protocol),
        CASE(what_the_agent_does_not_know_is_an_error_only_when_it_was_asked_for),
        CASE(interfaces_without_names_and_without_end_are_refused),
        CASE(arguments_reach_the_agent_as_it_wants_them),
        CASE(vcpus_are_switched_inside_the_guest),
        CASE(any_command_goes_to_the_agent_and_back),
        CASE(an_agent_that_does_not_answer_fails_its_own_call_only),
        CASE(an_answer_that_comes_too_late_is_not_taken_for_the_next),
        CASE(a_name_that_the_agent_does_not_tell_is_not_found),
        CASE(garbage_fails_its_own_call_only),
        CASE(an_agent_that_goes_in_the_middle_is_told_to_have_disappeared),
        CASE(a_socket_that_closes_in_the_middle_ends_the_call),
        CASE(calls_wait_for_each_other_and_not_without_end),
        CASE(calls_are_answered_when_the_guest_ends),
        CASE(a_daemon_that_comes_back_asks_on),
        CASE(a_shutdown_by_the_agent_is_over_with_the_event),
        CASE(the_agent_is_first_and_the_button_second),
        CASE(an_agent_that_was_named_alone_is_not_replaced_by_the_button),
        CASE(a_guest_is_put_to_sleep_by_its_agent),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
