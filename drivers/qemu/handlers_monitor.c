/* QMP and displays for clients: commands as they are, and descriptors of a viewer. */
#define VQ_FROM VIR_FROM_QEMU

#include <errno.h>
#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/handlers_define.h"
#include "drivers/qemu/qmp.h"
#include "proto/gen/qemu.h"
#include "proto/gen/remote.h"

enum { COMMAND_MAX_BYTES = 1024 * 1024, ANSWER_MAX_BYTES = 4 * 1024 * 1024 };

static void fail(struct vq_request *request, int code, const char *text)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_error_set(&err, code, "%s", text);
    vq_request_fail(request, &err);
}

/* ---- monitor commands ---- */

static void reply_text(struct vq_request *request, const char *text)
{
    struct vq_qemu_domain_monitor_command_ret *ret = request->ret;

    ret->result = strlen(text) <= ANSWER_MAX_BYTES ? vq_arena_strdup(request->arena, text) : NULL;
    if (ret->result == NULL)
        fail(request, VIR_ERR_INTERNAL_ERROR, "QEMU's answer is too large for the protocol");
    else
        vq_request_reply(request);
}

static void human_known(json_t *reply, const struct vq_error *err, void *data)
{
    if (err != NULL)
        vq_request_fail(data, err);
    else if (!json_is_string(reply))
        fail(data, VIR_ERR_INTERNAL_ERROR, "QEMU answered with something that is no text");
    else
        reply_text(data, json_string_value(reply));
}

/* The whole answer, errors of QEMU too, with the id that the user gave or none. */
static void raw_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_request *request = data;
    json_t *answer, *id = request->data;
    char *text;

    if (err != NULL) {
        json_decref(id);
        vq_request_fail(request, err);
        return;
    }
    answer = json_copy(reply);
    (void)json_object_del(answer, "id");
    if (id != NULL)
        (void)json_object_set_new(answer, "id", id);
    text = json_dumps(answer, JSON_COMPACT);
    json_decref(answer);
    if (text == NULL)
        fail(request, VIR_ERR_INTERNAL_ERROR, "QEMU answered with something that is no text");
    else
        reply_text(request, text);
    free(text);
}

static void ask_raw(struct vq_request *request, struct vq_qemu_guest *guest, const char *command)
{
    json_error_t json_err;
    json_t *question = json_loads(command, JSON_REJECT_DUPLICATES, &json_err);
    struct vq_error err = VQ_ERROR_INIT;

    if (!json_is_object(question)) {
        (void)vq_error_set(&err, VIR_ERR_INVALID_ARG, "the command is no JSON object%s%s",
                           question == NULL ? ": " : "", question == NULL ? json_err.text : "");
        json_decref(question);
        vq_request_fail(request, &err);
        return;
    }
    if (json_object_get(question, "exec-oob") != NULL) {
        json_decref(question);
        fail(request, VIR_ERR_ARGUMENT_UNSUPPORTED, "out-of-band commands are not enabled on this monitor");
        return;
    }
    guest->was_commanded = true;
    request->data = json_incref(json_object_get(question, "id"));
    (void)vq_qmp_call_raw(guest->qmp, question, VQ_QMP_TIMEOUT_MS, raw_known, request);
}

static void domain_monitor_command(struct vq_request *request)
{
    const struct vq_qemu_domain_monitor_command_args *args = request->args;
    struct vq_qemu_guest *guest;

    if (!vq_qemu_check_flags(request, args->flags, VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP) ||
        (guest = vq_qemu_guest_of(request)) == NULL)
        return;
    if (strlen(args->cmd) > COMMAND_MAX_BYTES)
        fail(request, VIR_ERR_INVALID_ARG, "the command is too long");
    else if ((args->flags & VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP) == 0)
        ask_raw(request, guest, args->cmd);
    else {
        guest->was_commanded = true;
        (void)vq_qmp_call(guest->qmp, "human-monitor-command", json_pack("{s:s}", "command-line", args->cmd),
                          VQ_QMP_TIMEOUT_MS, human_known, request);
    }
}

static void domain_attach(struct vq_request *request)
{
    fail(request, VIR_ERR_OPERATION_UNSUPPORTED, "attaching to a QEMU that was started elsewhere is not supported");
}

/* ---- a viewer's descriptor ---- */

static const char *protocol_of(const struct vq_graphics *graphics)
{
    return graphics->type == VQ_GRAPHICS_VNC ? "vnc" : graphics->type == VQ_GRAPHICS_SPICE ? "spice" : NULL;
}

static const struct vq_graphics *graphics_of(struct vq_request *request, const struct vq_qemu_guest *guest, uint32_t idx)
{
    const struct vq_devices *devices = guest->live != NULL ? &guest->live->devices : NULL;
    struct vq_error err = VQ_ERROR_INIT;

    if (devices == NULL || idx >= devices->n_graphics)
        (void)vq_error_set(&err, VIR_ERR_INTERNAL_ERROR, "no graphics backend with index %u", idx);
    else if (protocol_of(devices->graphics[idx]) == NULL)
        (void)vq_error_set(&err, VIR_ERR_INTERNAL_ERROR, "can only open VNC or SPICE graphics backends");
    else
        return devices->graphics[idx];
    vq_request_fail(request, &err);
    return NULL;
}

static void viewer_added(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_request *request = data;

    (void)reply;
    if (err != NULL)
        vq_request_fail(request, err); /* the descriptors of an unsent reply are closed with it */
    else
        vq_request_reply(request);
}

static void ignored(json_t *reply, const struct vq_error *err, void *data)
{
    (void)reply; /* when QEMU did not take it, the next command fails as well and says so */
    (void)err;
    (void)data;
}

static void add_viewer(struct vq_request *request, struct vq_qemu_guest *guest, const struct vq_graphics *graphics, int fd,
                       bool skip_auth)
{
    json_t *arguments = json_pack("{s:s,s:s,s:b}", "protocol", protocol_of(graphics), "fdname", "vq-viewer", "skipauth",
                                  skip_auth);

    (void)vq_qmp_call_fd(guest->qmp, "getfd", json_pack("{s:s}", "fdname", "vq-viewer"), fd, VQ_QMP_TIMEOUT_MS, ignored,
                         NULL);
    (void)vq_qmp_call(guest->qmp, "add_client", arguments, VQ_QMP_TIMEOUT_MS, viewer_added, request);
}

static void domain_open_graphics_fd(struct vq_request *request)
{
    const struct vq_remote_domain_open_graphics_fd_args *args = request->args;
    const struct vq_graphics *graphics;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_qemu_guest *guest;
    int pair[2];

    if (!vq_qemu_check_flags(request, args->flags, VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH) ||
        (guest = vq_qemu_guest_of(request)) == NULL || (graphics = graphics_of(request, guest, args->idx)) == NULL)
        return;
    if (request->is_remote) {
        fail(request, VIR_ERR_OPERATION_UNSUPPORTED, "descriptors can only be passed on the node that runs the domain");
        return;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        (void)vq_error_system(&err, errno, "cannot make a socket pair");
        vq_request_fail(request, &err);
        return;
    }
    request->reply_fds[request->n_reply_fds++] = pair[0];
    add_viewer(request, guest, graphics, pair[1], (args->flags & VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH) != 0);
    (void)close(pair[1]); /* a copy is on its way */
}

static void domain_open_graphics(struct vq_request *request)
{
    const struct vq_remote_domain_open_graphics_args *args = request->args;
    const struct vq_graphics *graphics;
    struct vq_qemu_guest *guest;

    if (!vq_qemu_check_flags(request, args->flags, VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH) ||
        (guest = vq_qemu_guest_of(request)) == NULL || (graphics = graphics_of(request, guest, args->idx)) == NULL)
        return;
    if (request->n_fds != 1)
        fail(request, VIR_ERR_INVALID_ARG, "one descriptor must come with the call");
    else
        add_viewer(request, guest, graphics, request->fds[0], (args->flags & VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH) != 0);
}

static const struct vq_driver_row rows[] = {
    { VQ_PROGRAM_QEMU, VQ_QEMU_DOMAIN_MONITOR_COMMAND, domain_monitor_command },
    { VQ_PROGRAM_QEMU, VQ_QEMU_DOMAIN_ATTACH, domain_attach },
    { VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_OPEN_GRAPHICS, domain_open_graphics },
    { VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_OPEN_GRAPHICS_FD, domain_open_graphics_fd },
};
const struct vq_qemu_rows vq_qemu_monitor_rows = { rows, VQ_N_ELEMENTS(rows) };
