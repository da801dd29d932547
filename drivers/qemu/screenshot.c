/* A picture of a guest's screen: QEMU paints it into memory of ours, and it goes to the client as a stream. */
#define VQ_FROM VIR_FROM_QEMU

#include <errno.h>
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/handlers_define.h"
#include "drivers/qemu/qmp.h"
#include "proto/gen/remote.h"

enum {
    PICTURE_BYTES_MAX = 128 * 1024 * 1024, /* 8K at 24 bits, uncompressed, fits */
    PIECE_BYTES = 64 * 1024,
    SCREENSHOTS_MAX = 64,                  /* at once on this node */
    PAINT_MS = 30000,
};

struct picture {
    struct vq_request *request;   /* until the stream is open */
    struct vq_stream *stream;
    int fd;                       /* memory */
    off_t offset, length;
};

static unsigned n_pictures;       /* bounds what pictures take of memory */
static int last_set;              /* of descriptors that QEMU was given */

static void picture_free(struct picture *picture)
{
    if (picture->fd >= 0)
        (void)close(picture->fd);
    n_pictures--;
    free(picture);
}

/* ---- To the client ---- */

static void send_more(struct picture *picture)
{
    uint8_t bytes[PIECE_BYTES];
    bool is_taken = true;

    while (is_taken && picture->offset < picture->length) {
        size_t left = (size_t)(picture->length - picture->offset);
        ssize_t n = pread(picture->fd, bytes, left < sizeof(bytes) ? left : sizeof(bytes), picture->offset);

        if (n <= 0) { /* cut by QEMU after it was measured */
            struct vq_error err = VQ_ERROR_INIT;

            (void)vq_error_set(&err, VIR_ERR_INTERNAL_ERROR, "the picture became shorter while it was sent");
            vq_stream_fail(picture->stream, &err);
            picture_free(picture);
            return;
        }
        picture->offset += n;
        is_taken = vq_stream_write(picture->stream, bytes, (size_t)n);
    }
    if (picture->offset == picture->length && picture->fd >= 0) {
        (void)close(picture->fd);
        picture->fd = -1;
        vq_stream_end(picture->stream);
    }
}

static bool client_data(struct vq_stream *stream VQ_UNUSED, const uint8_t *bytes VQ_UNUSED, size_t length VQ_UNUSED,
                        void *data VQ_UNUSED)
{
    return true; /* nobody waits for it */
}

static void client_finish(struct vq_stream *stream, void *data)
{
    picture_free(data);
    vq_stream_finish(stream);
}

static void client_aborted(struct vq_stream *stream VQ_UNUSED, void *data)
{
    picture_free(data);
}

static void client_writable(struct vq_stream *stream VQ_UNUSED, void *data)
{
    struct picture *picture = data;

    if (picture->fd >= 0)
        send_more(picture);
}

static const struct vq_stream_callbacks callbacks = { .data = client_data, .finish = client_finish,
                                                      .aborted = client_aborted, .writable = client_writable };

/* ---- From QEMU ---- */

static void fail_picture(struct picture *picture, const struct vq_error *err)
{
    struct vq_request *request = picture->request;

    picture_free(picture);
    vq_request_fail(request, err);
}

static void painted(json_t *reply VQ_UNUSED, const struct vq_error *qemu_err, void *data)
{
    struct picture *picture = data;
    struct vq_request *request = picture->request;
    struct vq_remote_domain_screenshot_ret *ret = request->ret;
    struct vq_error err = VQ_ERROR_INIT;
    struct stat status;

    if (qemu_err != NULL) {
        fail_picture(picture, qemu_err);
        return;
    }
    if (fstat(picture->fd, &status) < 0 || status.st_size <= 0 || status.st_size > PICTURE_BYTES_MAX)
        (void)vq_error_set(&err, VIR_ERR_INTERNAL_ERROR, "QEMU's picture of the screen is empty or larger than %d bytes",
                           PICTURE_BYTES_MAX);
    else if ((picture->stream = request->open_stream(request, &callbacks, picture)) == NULL)
        (void)vq_error_set(&err, VIR_ERR_INTERNAL_ERROR, "the call came without a stream");
    if (picture->stream == NULL) {
        fail_picture(picture, &err);
        return;
    }
    picture->request = NULL;
    picture->length = status.st_size;
    ret->mime = "image/png";
    vq_request_reply(request);
    send_more(picture);
}

static void ignored(json_t *reply VQ_UNUSED, const struct vq_error *err VQ_UNUSED, void *data VQ_UNUSED)
{
    /* when QEMU did not take the descriptor, screendump says so */
}

/* QEMU opens what it is given by the same mode in which it would open a file: for writing only. */
static int open_for_writing(int memory, struct vq_error *err)
{
    char path[32];
    int fd;

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", memory);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 ? fd : vq_error_system(err, errno, "cannot open memory for a picture");
}

static void paint(struct vq_qemu_guest *guest, struct picture *picture, const struct vq_video *video, uint32_t head,
                  int fd)
{
    json_t *arguments;
    int set;

    last_set = last_set == INT32_MAX ? 1 : last_set + 1;
    set = last_set;
    arguments = json_pack("{s:o,s:s}", "filename", json_sprintf("/dev/fdset/%d", set), "format", "png");
    if (video->info.alias != NULL) {
        (void)json_object_set_new(arguments, "device", json_string(video->info.alias));
        (void)json_object_set_new(arguments, "head", json_integer(head));
    }
    (void)vq_qmp_call_fd(guest->qmp, "add-fd", json_pack("{s:i}", "fdset-id", set), fd, PAINT_MS, ignored, NULL);
    (void)vq_qmp_call(guest->qmp, "screendump", arguments, PAINT_MS, painted, picture);
    (void)vq_qmp_call(guest->qmp, "remove-fd", json_pack("{s:i}", "fdset-id", set), PAINT_MS, ignored, NULL);
}

/* Screens are counted through: all heads of the first card, then those of the next. */
static const struct vq_video *find_screen(const struct vq_qemu_guest *guest, uint32_t screen, uint32_t *ret_head)
{
    for (size_t i = 0; guest->live != NULL && i < guest->live->devices.n_videos; i++) {
        const struct vq_video *video = guest->live->devices.videos[i];
        uint32_t heads = video->heads > 0 ? video->heads : 1;

        if (vq_streq(video->model, "none"))
            continue;
        if (screen < heads) {
            *ret_head = screen;
            return video;
        }
        screen -= heads;
    }
    return NULL;
}

static void domain_screenshot(struct vq_request *request)
{
    const struct vq_remote_domain_screenshot_args *args = request->args;
    const struct vq_video *video;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_qemu_guest *guest;
    struct picture *picture;
    uint32_t head = 0;
    int fd = -1;

    if (!vq_qemu_check_flags(request, args->flags, 0) || (guest = vq_qemu_guest_of(request)) == NULL)
        return;
    video = find_screen(guest, args->screen, &head);
    if (video == NULL || n_pictures >= SCREENSHOTS_MAX) {
        vq_qemu_refuse(request, VQ_FROM, video == NULL ? VIR_ERR_OPERATION_INVALID : VIR_ERR_OPERATION_FAILED, "%s",
                       video == NULL ? "no such screen ID" : "too many pictures of screens are being taken");
        return;
    }
    picture = vq_new(struct picture);
    *picture = (struct picture){ .request = request, .fd = memfd_create("vq-screen", MFD_CLOEXEC) };
    n_pictures++;
    if (picture->fd < 0)
        (void)vq_error_system(&err, errno, "no memory for a picture");
    else
        fd = open_for_writing(picture->fd, &err);
    if (fd < 0) {
        fail_picture(picture, &err);
        return;
    }
    paint(guest, picture, video, head, fd);
    (void)close(fd); /* a copy is on its way */
}

static const struct vq_driver_row rows[] = {
    { VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_SCREENSHOT, domain_screenshot },
};
const struct vq_qemu_rows vq_qemu_screen_rows = { rows, VQ_N_ELEMENTS(rows) };
