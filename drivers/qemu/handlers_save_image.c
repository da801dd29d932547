/* Definitions in save images: looking at them, and changing what the guest cannot notice. Files are read and written
 * beside the loop. */
#define VQ_FROM VIR_FROM_QEMU

#include <errno.h>
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/aside.h"
#include "drivers/qemu/driver.h"
#include "drivers/qemu/handlers_define.h"
#include "drivers/qemu/save_image.h"
#include "drivers/qemu/save_managed.h"
#include "drivers/qemu/save_xml.h"
#include "proto/gen/remote.h"

enum { FILE_MS = 30000 };

/* What the thread has: first it reads, then, for a change, it writes head. */
struct file_work {
    char *path;
    bool writes;
    int fd;
    struct vq_save_image image;
    uint8_t *head;           /* NULL: read */
    size_t head_length;
    struct vq_error err;
    int rc;
};

struct look {
    struct vq_request *request;
    const char *path;        /* borrowed until it begins */
    bool writes;
    const char *xml;         /* of the call, writes only */
    int runs;                /* writes: 1, 0, or -1: as it was */
    bool shows_secrets;
    const char **ret_text;
};

/* ---- Beside the loop ---- */

static void file_read(struct file_work *work)
{
    bool is_incomplete;

    work->rc = -1;
    work->fd = open(work->path, (work->writes ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (work->fd < 0)
        (void)vq_error_system(&work->err, errno, "Failed to open file '%s'", work->path);
    else
        work->rc = vq_save_image_read(work->fd, &work->image, &is_incomplete, &work->err);
}

/* The whole head in one write: a reader finds the old one or the new one, and a crash hardly a mixture. */
static void file_write(struct file_work *work)
{
    if (pwrite(work->fd, work->head, work->head_length, 0) != (ssize_t)work->head_length || fdatasync(work->fd) < 0)
        work->rc = vq_error_system(&work->err, errno, "failed to write header to domain save file '%s'", work->path);
}

static void file_run(void *data)
{
    struct file_work *work = data;

    if (work->head == NULL)
        file_read(work);
    else
        file_write(work);
}

static void file_work_free(void *data)
{
    struct file_work *work = data;

    if (work->fd >= 0)
        (void)close(work->fd);
    vq_save_image_done(&work->image);
    free(work->head);
    free(work->path);
    free(work);
}

static const struct vq_aside_class file_class = { file_run, file_work_free };

/* ---- On the loop ---- */

static void answer(struct look *look, const struct vq_error *err, char *take_text)
{
    struct vq_request *request = look->request;
    const char **ret_text = look->ret_text;

    free(look);
    if (err != NULL)
        vq_request_fail(request, err);
    else if (ret_text != NULL)
        vq_qemu_reply_text(request, ret_text, take_text);
    else
        vq_request_reply(request);
}

static int check_work(const struct file_work *work, struct vq_error *err)
{
    if (work == NULL)
        return vq_error_set(err, VIR_ERR_OPERATION_TIMEOUT, "the file system of the image does not answer");
    if (work->rc < 0)
        *err = work->err;
    return work->rc;
}

static void written(void *take_work, void *data)
{
    struct vq_error err = VQ_ERROR_INIT;
    int rc = check_work(take_work, &err);

    if (take_work != NULL)
        file_work_free(take_work);
    answer(data, rc < 0 ? &err : NULL, NULL);
}

/* What the image gets in place of its definition. */
static int build_head(const struct look *look, struct file_work *work, struct vq_error *err)
{
    VQ_AUTOPTR(vq_domain) definition = NULL;
    VQ_AUTOFREE char *xml = NULL;
    bool runs = look->runs < 0 ? work->image.was_running != 0 : look->runs > 0;

    if (vq_save_xml_read(work->image.xml, look->xml, &definition, err) < 0)
        return -1;
    xml = vq_domain_format(definition, VQ_FORMAT_SECURE | VQ_FORMAT_MIGRATABLE);
    return vq_save_image_rebuild(&work->image, xml, runs, &work->head, &work->head_length, err);
}

static int show(const struct look *look, const struct file_work *work, char **ret_text, struct vq_error *err)
{
    VQ_AUTOPTR(vq_domain) definition = NULL;

    if (vq_save_xml_read(work->image.xml, NULL, &definition, err) < 0)
        return -1;
    *ret_text = vq_domain_format(definition, VQ_FORMAT_INACTIVE | (look->shows_secrets ? VQ_FORMAT_SECURE : 0));
    return 0;
}

static void was_read(void *take_work, void *data)
{
    struct look *look = data;
    struct file_work *work = take_work;
    struct vq_qemu *qemu = look->request->driver->state;
    struct vq_error err = VQ_ERROR_INIT;
    char *text = NULL;
    int rc = check_work(work, &err);

    if (rc == 0 && qemu == NULL)
        rc = vq_error_set(&err, VIR_ERR_OPERATION_ABORTED, "the daemon is stopping");
    if (rc == 0 && look->writes && build_head(look, work, &err) == 0) {
        (void)vq_aside_start(qemu->host->loop, &file_class, work, FILE_MS, written, look);
        return;
    }
    if (rc == 0 && !look->writes)
        (void)show(look, work, &text, &err);
    if (work != NULL)
        file_work_free(work);
    answer(look, err.code != VIR_ERR_OK ? &err : NULL, text);
}

static void start(struct vq_request *request, const struct look *what)
{
    struct look *look = vq_memdup(what, sizeof(*what));
    struct file_work *work = vq_new(struct file_work);

    look->request = request;
    work->path = vq_strdup(what->path);
    work->writes = what->writes;
    work->fd = -1;
    work->err = VQ_ERROR_INIT;
    (void)vq_aside_start(vq_qemu_of(request)->host->loop, &file_class, work, FILE_MS, was_read, look);
}

/* ---- Images that the caller names ---- */

static bool check_path(struct vq_request *request, const char *path)
{
    if (path[0] == '/')
        return true;
    vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "path '%s' must be absolute", path);
    return false;
}

static void domain_save_image_get_xml_desc(struct vq_request *request)
{
    const struct vq_remote_domain_save_image_get_xml_desc_args *args = request->args;
    struct vq_remote_domain_save_image_get_xml_desc_ret *ret = request->ret;

    if (vq_qemu_check_flags(request, args->flags, VIR_DOMAIN_SAVE_IMAGE_XML_SECURE) && check_path(request, args->file))
        start(request, &(struct look){ .path = args->file, .ret_text = &ret->xml,
                                       .shows_secrets = (args->flags & VIR_DOMAIN_SAVE_IMAGE_XML_SECURE) != 0 });
}

/* False: the request was failed. */
static bool read_state(struct vq_request *request, uint32_t flags, int *ret_runs)
{
    if (!vq_qemu_check_flags(request, flags, VIR_DOMAIN_SAVE_RUNNING | VIR_DOMAIN_SAVE_PAUSED))
        return false;
    *ret_runs = (flags & VIR_DOMAIN_SAVE_RUNNING) != 0 ? 1 : (flags & VIR_DOMAIN_SAVE_PAUSED) != 0 ? 0 : -1;
    if ((flags & VIR_DOMAIN_SAVE_RUNNING) == 0 || (flags & VIR_DOMAIN_SAVE_PAUSED) == 0)
        return true;
    vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "running and paused flags in %s are mutually exclusive",
                   request->procedure->api);
    return false;
}

static void domain_save_image_define_xml(struct vq_request *request)
{
    const struct vq_remote_domain_save_image_define_xml_args *args = request->args;
    int runs;

    if (read_state(request, args->flags, &runs) && check_path(request, args->file))
        start(request, &(struct look){ .path = args->file, .writes = true, .xml = args->dxml, .runs = runs });
}

/* ---- The image of a managed save ---- */

/* NULL: the request was failed. */
static char *managed_image(struct vq_request *request)
{
    struct vq_error err = VQ_ERROR_INIT;
    char *path = NULL;

    if ((request->domain->flags & VQ_INFO_MANAGED_SAVE) != 0 &&
        vq_managed_look(vq_qemu_of(request), request->domain, &path, &err) == VQ_MANAGED_IMAGE)
        return path;
    if (err.code == VIR_ERR_OK)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID, "domain does not have managed save image");
    vq_request_fail(request, &err);
    return NULL;
}

static void domain_managed_save_get_xml_desc(struct vq_request *request)
{
    const struct vq_remote_domain_managed_save_get_xml_desc_args *args = request->args;
    struct vq_remote_domain_managed_save_get_xml_desc_ret *ret = request->ret;
    VQ_AUTOFREE char *path = NULL;

    if (vq_qemu_check_flags(request, args->flags, VIR_DOMAIN_SAVE_IMAGE_XML_SECURE) &&
        (path = managed_image(request)) != NULL)
        start(request, &(struct look){ .path = path, .ret_text = &ret->xml,
                                       .shows_secrets = (args->flags & VIR_DOMAIN_SAVE_IMAGE_XML_SECURE) != 0 });
}

static void domain_managed_save_define_xml(struct vq_request *request)
{
    const struct vq_remote_domain_managed_save_define_xml_args *args = request->args;
    VQ_AUTOFREE char *path = NULL;
    int runs;

    if (read_state(request, args->flags, &runs) && (path = managed_image(request)) != NULL)
        start(request, &(struct look){ .path = path, .writes = true, .xml = args->dxml, .runs = runs });
}

#define ROW(NAME, fn) { VQ_PROGRAM_REMOTE, VQ_REMOTE_##NAME, fn }

static const struct vq_driver_row rows[] = {
    ROW(DOMAIN_SAVE_IMAGE_GET_XML_DESC, domain_save_image_get_xml_desc),
    ROW(DOMAIN_SAVE_IMAGE_DEFINE_XML, domain_save_image_define_xml),
    ROW(DOMAIN_MANAGED_SAVE_GET_XML_DESC, domain_managed_save_get_xml_desc),
    ROW(DOMAIN_MANAGED_SAVE_DEFINE_XML, domain_managed_save_define_xml),
};
const struct vq_qemu_rows vq_qemu_save_image_rows = { rows, VQ_N_ELEMENTS(rows) };
