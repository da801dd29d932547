/* Headers of images, names of backing files, and chains of real files with headers that tell the truth, lie, or loop. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/device_fields.h"
#include "conf/domain.h"
#include "drivers/qemu/image_backing.h"
#include "drivers/qemu/image_chain.h"
#include "drivers/qemu/image_header.h"

enum { CLUSTER = 65536 };

static char dir[64];

/* ---- Headers ---- */

static void put32(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 24);
    at[1] = (uint8_t)(value >> 16);
    at[2] = (uint8_t)(value >> 8);
    at[3] = (uint8_t)value;
}

/* The first cluster of a qcow2 image; backing and format may be NULL. */
static void make_qcow2(uint8_t bytes[CLUSTER], const char *backing, const char *format)
{
    size_t at = 104;

    memset(bytes, 0, CLUSTER);
    put32(bytes, 0x514649fb);
    put32(bytes + 4, 3);
    put32(bytes + 20, 16);
    put32(bytes + 28, 1 << 20);
    put32(bytes + 100, 104);
    if (format != NULL) {
        put32(bytes + at, 0xe2792aca);
        put32(bytes + at + 4, (uint32_t)strlen(format));
        memcpy(bytes + at + 8, format, strlen(format));
        at += 8 + (strlen(format) + 7) / 8 * 8;
    }
    at += 8; /* the end of the extensions */
    if (backing != NULL) {
        put32(bytes + 12, (uint32_t)at);
        put32(bytes + 16, (uint32_t)strlen(backing));
        memcpy(bytes + at, backing, strlen(backing));
    }
}

static void qcow2_names_its_backing_file_and_format(void **state)
{
    uint8_t bytes[CLUSTER];
    struct vq_image_header header;
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    make_qcow2(bytes, "base.img", "raw");
    assert_int_equal(vq_image_header_read("qcow2", bytes, sizeof(bytes), &header, &err), 0);
    assert_true(header.has_backing);
    assert_string_equal(header.backing, "base.img");
    assert_string_equal(header.backing_format, "raw");
    assert_int_equal(header.capacity, 1 << 20);
    assert_false(header.is_encrypted);
}

static void a_name_outside_of_the_header_is_refused(void **state)
{
    static const struct {
        uint32_t offset_high, offset, length;
    } cases[] = {{0, 104, 2000}, {0, CLUSTER - 4, 100}, {1, 0, 8}, {0xffffffff, 0xffffffff, 0xffffffff}, {0, 70000, 4}};
    uint8_t bytes[CLUSTER];
    struct vq_image_header header;

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        struct vq_error err = VQ_ERROR_INIT;
        make_qcow2(bytes, "base.img", NULL);
        put32(bytes + 8, cases[i].offset_high);
        put32(bytes + 12, cases[i].offset);
        put32(bytes + 16, cases[i].length);
        assert_int_equal(vq_image_header_read("qcow2", bytes, sizeof(bytes), &header, &err), -1);
        assert_int_equal(err.code, VIR_ERR_OPERATION_INVALID);
    }
}

static void an_extension_longer_than_the_header_is_refused(void **state)
{
    uint8_t bytes[CLUSTER];
    struct vq_image_header header;
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    make_qcow2(bytes, "base.img", "raw");
    put32(bytes + 108, 0xfffffff0);
    assert_int_equal(vq_image_header_read("qcow2", bytes, sizeof(bytes), &header, &err), -1);
}

static void a_name_with_a_nul_or_a_line_break_is_refused(void **state)
{
    uint8_t bytes[CLUSTER];
    struct vq_image_header header;
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    make_qcow2(bytes, "base\nimg", NULL);
    assert_int_equal(vq_image_header_read("qcow2", bytes, sizeof(bytes), &header, &err), -1);
    make_qcow2(bytes, "base", NULL);
    put32(bytes + 16, 6);
    assert_int_equal(vq_image_header_read("qcow2", bytes, sizeof(bytes), &header, &err), -1);
}

static void formats_are_told_by_their_first_bytes(void **state)
{
    static const struct {
        const char *format, *bytes;
        size_t length, at;
    } cases[] = {
        {"qcow2", "QFI\xfb\0\0\0\2", 8, 0}, {"qcow", "QFI\xfb\0\0\0\1", 8, 0}, {"qed", "QED\0", 4, 0},
        {"vmdk", "KDMV", 4, 0},  {"vmdk", "# Disk DescriptorFile", 21, 0},     {"vdi", "\x7f\x10\xda\xbe", 4, 64},
        {"vhdx", "vhdxfile", 8, 0}, {"vpc", "conectix", 8, 0},                 {"luks", "LUKS\xba\xbe\0\1", 8, 0},
        {"raw", "anything", 8, 0},
    };
    uint8_t bytes[1024];

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        memset(bytes, 0, sizeof(bytes));
        memcpy(bytes + cases[i].at, cases[i].bytes, cases[i].length);
        assert_string_equal(vq_image_probe(bytes, sizeof(bytes)), cases[i].format);
    }
    assert_string_equal(vq_image_probe(bytes, 0), "raw");
}

static void every_length_of_a_header_is_survived(void **state)
{
    static const char *const formats[] = {"qcow2", "qcow", "qed", "vmdk", "vdi", "vhdx", "vpc", "luks", "raw"};
    uint8_t bytes[CLUSTER];

    (void)state;
    make_qcow2(bytes, "base.img", "raw");
    for (size_t length = 0; length < 300; length++) {
        VQ_AUTOFREE uint8_t *copy = vq_memdup(bytes, length + 1); /* so that the sanitizer sees a step too far */
        for (size_t i = 0; i < VQ_N_ELEMENTS(formats); i++) {
            struct vq_image_header header;
            struct vq_error err = VQ_ERROR_INIT;
            assert_true(vq_image_header_size(formats[i], copy, length) <= VQ_IMAGE_HEADER_MAX);
            if (vq_image_header_read(formats[i], copy, length, &header, &err) < 0)
                assert_int_equal(err.code, VIR_ERR_OPERATION_INVALID);
        }
    }
}

static void a_vmdk_names_its_parent(void **state)
{
    static const char text[] = "# Disk DescriptorFile\nversion=1\nparentFileNameHint=\"parent.vmdk\"\n";
    struct vq_image_header header;
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    assert_int_equal(vq_image_header_read("vmdk", (const uint8_t *)text, sizeof(text) - 1, &header, &err), 0);
    assert_true(header.has_backing);
    assert_string_equal(header.backing, "parent.vmdk");
    assert_string_equal(header.backing_format, "vmdk");
    assert_int_equal(vq_image_header_read("vmdk", (const uint8_t *)text, sizeof(text) - 6, &header, &err), -1);
}

/* ---- Names ---- */

static void names_of_backing_files_become_sources(void **state)
{
    static const struct {
        const char *name, *path;
        enum vq_net_protocol protocol;
        const char *host;
        uint32_t port;
        const char *export;
    } cases[] = {
        {"base.img", "/images/base.img", 0, NULL, 0, NULL},
        {"sub/a:b.img", "/images/sub/a:b.img", 0, NULL, 0, NULL},
        {"/abs/base.img", "/abs/base.img", 0, NULL, 0, NULL},
        {"file:///abs/base.img", "/abs/base.img", 0, NULL, 0, NULL},
        {"json:{\"driver\":\"file\",\"filename\":\"/j.img\"}", "/j.img", 0, NULL, 0, NULL},
        {"json:{\"file\":{\"driver\":\"host_device\",\"filename\":\"/dev/x\"}}", "/dev/x", 0, NULL, 0, NULL},
        {"json:{\"file.driver\":\"file\",\"file.filename\":\"/old\"}", "/old", 0, NULL, 0, NULL},
        {"nbd://host:1234/exp", NULL, VQ_NET_PROTOCOL_NBD, "host", 1234, "exp"},
        {"nbd://[::1]:10809", NULL, VQ_NET_PROTOCOL_NBD, "::1", 10809, NULL},
        {"nbd:host:10809:exportname=e", NULL, VQ_NET_PROTOCOL_NBD, "host", 10809, "e"},
        {"json:{\"driver\":\"nbd\",\"server\":{\"type\":\"inet\",\"host\":\"h\",\"port\":\"99\"},\"export\":\"x\"}", NULL,
         VQ_NET_PROTOCOL_NBD, "h", 99, "x"},
        {"https://h/d/i.qcow2?a=b", NULL, VQ_NET_PROTOCOL_HTTPS, "h", 0, "d/i.qcow2"},
        {"json:{\"driver\":\"https\",\"url\":\"https://h:8443/i\"}", NULL, VQ_NET_PROTOCOL_HTTPS, "h", 8443, "i"},
        {"ssh://me@h/path/i", NULL, VQ_NET_PROTOCOL_SSH, "h", 0, "/path/i"},
        {"gluster+tcp://h:24007/vol/img", NULL, VQ_NET_PROTOCOL_GLUSTER, "h", 24007, "vol/img"},
        {"iscsi://h:3260/iqn.2001-04.com.example:t/1", NULL, VQ_NET_PROTOCOL_ISCSI, "h", 3260, "iqn.2001-04.com.example:t/1"},
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        struct vq_source source = {0};
        struct vq_error err = VQ_ERROR_INIT;
        if (vq_image_backing_parse(cases[i].name, "/images/top.qcow2", &source, &err) < 0)
            fail_msg("%s: %s", cases[i].name, err.message);
        assert_true(vq_streq(source.path, cases[i].path) || (source.path == NULL && cases[i].path == NULL));
        assert_int_equal(source.protocol, cases[i].protocol);
        if (cases[i].host != NULL) {
            assert_int_equal(source.n_hosts, 1);
            assert_string_equal(source.hosts[0]->name, cases[i].host);
            assert_int_equal(source.hosts[0]->port, cases[i].port);
            assert_true(vq_streq(source.name, cases[i].export) || (source.name == NULL && cases[i].export == NULL));
        }
        vq_fields_clear(&vq_source_fields, &source);
    }
}

static void names_that_are_none_are_refused(void **state)
{
    static const char *const names[] = {
        "", "foo:bar", "json:", "json:[]", "json:{}", "json:{\"driver\":\"file\"}", "json:{\"driver\":\"file\",\"filename\":\"rel\"}",
        "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"/x\"}}", "nbd://", "nbd://h:99999/x",
        "nbd://[::1/x", "nbd:unix:relative", "rbd:nopool", "sheepdog://h/x", "nbd+rdma://h/x", "nbd+unix:///x",
        "json:{\"file\":{\"file\":{\"file\":{\"file\":{\"file\":{\"file\":{\"driver\":\"file\",\"filename\":\"/x\"}}}}}}}",
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(names); i++) {
        struct vq_source source = {0};
        struct vq_error err = VQ_ERROR_INIT;
        if (vq_image_backing_parse(names[i], "/images/top.qcow2", &source, &err) == 0)
            fail_msg("'%s' was taken", names[i]);
        assert_true(err.code == VIR_ERR_OPERATION_INVALID || err.code == VIR_ERR_INTERNAL_ERROR);
    }
}

/* ---- Chains ---- */

static char *path_of(const char *name)
{
    return vq_asprintf("%s/%s", dir, name);
}

static void write_image(const char *name, const char *backing, const char *format)
{
    VQ_AUTOFREE char *path = path_of(name);
    uint8_t bytes[CLUSTER];
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    if (strstr(name, ".raw") != NULL)
        memset(bytes, 0, sizeof(bytes));
    else
        make_qcow2(bytes, backing, format);
    assert_int_equal(write(fd, bytes, sizeof(bytes)), (ssize_t)sizeof(bytes));
    (void)close(fd);
}

static struct vq_disk *disk_of(const char *name, const char *format)
{
    struct vq_disk *disk = vq_new(struct vq_disk);

    disk->target = vq_strdup("vda");
    disk->source.type = VQ_SOURCE_FILE;
    disk->source.path = path_of(name);
    disk->format = vq_strdup(format);
    return disk;
}

static int complete(struct vq_disk *disk, struct vq_error *err)
{
    const struct vq_image_reader reader = {0};

    *err = VQ_ERROR_INIT;
    return vq_image_chain_complete(disk, &reader, err);
}

static void expect_refused(const char *name, int code, const char *text)
{
    struct vq_disk *disk = disk_of(name, "qcow2");
    struct vq_error err;

    assert_int_equal(complete(disk, &err), -1);
    if (err.code != code || strstr(err.message, text) == NULL)
        fail_msg("%s: %d %s", name, err.code, err.message);
    vq_fields_free(&vq_disk_fields, disk);
}

static void a_chain_is_read_from_the_headers(void **state)
{
    struct vq_disk *disk;
    struct vq_error err;

    (void)state;
    write_image("base.raw", NULL, NULL);
    write_image("mid.qcow2", "base.raw", "raw");
    write_image("top.qcow2", "mid.qcow2", "qcow2");
    disk = disk_of("top.qcow2", "qcow2");
    assert_int_equal(complete(disk, &err), 0);
    assert_int_equal(disk->chain, VQ_CHAIN_DETECTED);
    assert_string_equal(strrchr(disk->backing->source.path, '/'), "/mid.qcow2");
    assert_string_equal(disk->backing->format, "qcow2");
    assert_string_equal(strrchr(disk->backing->backing->source.path, '/'), "/base.raw");
    assert_string_equal(disk->backing->backing->format, "raw");
    assert_int_equal(disk->backing->backing->backing->source.type, VQ_SOURCE_UNSET);
    vq_fields_free(&vq_disk_fields, disk);
}

static void a_raw_disk_ends_whatever_its_bytes_say(void **state)
{
    struct vq_disk *disk = disk_of("top.qcow2", "raw");
    struct vq_error err;

    (void)state;
    assert_int_equal(complete(disk, &err), 0);
    assert_non_null(disk->backing);
    assert_int_equal(disk->backing->source.type, VQ_SOURCE_UNSET);
    vq_fields_free(&vq_disk_fields, disk);
}

static void a_chain_that_the_definition_ends_is_left_alone(void **state)
{
    struct vq_disk *disk = disk_of("top.qcow2", "qcow2");
    struct vq_error err;

    (void)state;
    disk->backing = vq_new(struct vq_backing);
    assert_int_equal(complete(disk, &err), 0);
    assert_int_equal(disk->chain, VQ_CHAIN_CONFIGURED);
    assert_int_equal(disk->backing->source.type, VQ_SOURCE_UNSET);
    vq_fields_free(&vq_disk_fields, disk);
}

static void a_chain_that_the_definition_begins_is_completed(void **state)
{
    struct vq_disk *disk = disk_of("top.qcow2", "qcow2");
    struct vq_error err;

    (void)state;
    disk->backing = vq_new(struct vq_backing);
    disk->backing->source.type = VQ_SOURCE_FILE;
    disk->backing->source.path = path_of("mid.qcow2");
    disk->backing->format = vq_strdup("qcow2");
    assert_int_equal(complete(disk, &err), 0);
    assert_int_equal(disk->chain, VQ_CHAIN_CONFIGURED);
    assert_int_equal(disk->backing->chain, VQ_CHAIN_DETECTED);
    assert_string_equal(strrchr(disk->backing->backing->source.path, '/'), "/base.raw");
    vq_fields_free(&vq_disk_fields, disk);
}

static void chains_that_cannot_be_trusted_are_refused(void **state)
{
    (void)state;
    write_image("missing.qcow2", "nowhere.qcow2", "qcow2");
    expect_refused("missing.qcow2", VIR_ERR_SYSTEM_ERROR, "/nowhere.qcow2' of storage file '");
    write_image("lie.qcow2", "base.raw", "qcow2");
    expect_refused("lie.qcow2", VIR_ERR_OPERATION_INVALID, "image is not in qcow2 format");
    write_image("loop1.qcow2", "loop2.qcow2", "qcow2");
    write_image("loop2.qcow2", "loop1.qcow2", "qcow2");
    expect_refused("loop1.qcow2", VIR_ERR_INTERNAL_ERROR, "self-referential or too deeply nested");
    write_image("self.qcow2", "self.qcow2", "qcow2");
    expect_refused("self.qcow2", VIR_ERR_INTERNAL_ERROR, "self-referential or too deeply nested");
    write_image("odd.qcow2", "base.raw", "vhdx"); /* a definition cannot say this, and the run's own would not be read again */
    expect_refused("odd.qcow2", VIR_ERR_OPERATION_INVALID, "unknown format 'vhdx' of the backing image of '");
    write_image("control.qcow2", "base\x01.raw", "raw");
    expect_refused("control.qcow2", VIR_ERR_OPERATION_INVALID, "is not a name");
    write_image("latin.qcow2", "base\xff.raw", "raw");
    expect_refused("latin.qcow2", VIR_ERR_OPERATION_INVALID, "is not a name");
    write_image("guess.qcow2", "top.qcow2", NULL);
    expect_refused("guess.qcow2", VIR_ERR_OPERATION_INVALID, "was not specified in the image metadata");
    write_image("dir.qcow2", "/", "raw");
    expect_refused("dir.qcow2", VIR_ERR_CONFIG_UNSUPPORTED, "neither a file nor a block device");
    expect_refused("base.raw", VIR_ERR_OPERATION_INVALID, "image is not in qcow2 format");
}

static void a_format_that_is_not_said_is_guessed_where_nothing_hangs_on_it(void **state)
{
    struct vq_disk *disk;
    struct vq_error err;

    (void)state;
    write_image("guessraw.qcow2", "base.raw", NULL);
    disk = disk_of("guessraw.qcow2", "qcow2");
    assert_int_equal(complete(disk, &err), 0);
    assert_string_equal(disk->backing->format, "raw");
    vq_fields_free(&vq_disk_fields, disk);
}

static void a_chain_has_an_end(void **state)
{
    char name[32], below[32];

    (void)state;
    for (int i = 0; i < VQ_IMAGE_CHAIN_MAX + 1; i++) {
        (void)snprintf(name, sizeof(name), "deep%d.qcow2", i);
        (void)snprintf(below, sizeof(below), "deep%d.qcow2", i + 1);
        write_image(name, i == VQ_IMAGE_CHAIN_MAX ? NULL : below, "qcow2");
    }
    expect_refused("deep0.qcow2", VIR_ERR_INTERNAL_ERROR, "too deeply nested");
}

static void a_directory_that_qemu_may_not_enter_is_named(void **state)
{
    const struct vq_image_reader reader = {.has_user = true, .uid = 54321, .gid = 54321};
    VQ_AUTOFREE char *closed = path_of("closed"), *deeper = path_of("closed/deeper"), *path = path_of("closed/deeper/x.raw");
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(mkdir(closed, 0700), 0);
    assert_int_equal(mkdir(deeper, 0755), 0);
    assert_int_equal(vq_image_path_check(path, &reader, &err), -1);
    assert_int_equal(err.code, VIR_ERR_SYSTEM_ERROR);
    assert_non_null(strstr(err.message, "/closed' may not be entered"));
    assert_int_equal(access(path, F_OK), -1); /* as root again, it is simply not there */
    assert_int_equal(chmod(closed, 0711), 0);
    assert_int_equal(vq_image_path_check(path, &reader, &err), 0);
}

static int make_dir(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof(dir), "/tmp/qemu_images.XXXXXX");
    return mkdtemp(dir) == NULL || chmod(dir, 0755) < 0 ? -1 : 0;
}

static int remove_dir(void **state)
{
    VQ_AUTOFREE char *command = vq_asprintf("rm -rf '%s'", dir);

    (void)state;
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(qcow2_names_its_backing_file_and_format),
        cmocka_unit_test(a_name_outside_of_the_header_is_refused),
        cmocka_unit_test(an_extension_longer_than_the_header_is_refused),
        cmocka_unit_test(a_name_with_a_nul_or_a_line_break_is_refused),
        cmocka_unit_test(formats_are_told_by_their_first_bytes),
        cmocka_unit_test(every_length_of_a_header_is_survived),
        cmocka_unit_test(a_vmdk_names_its_parent),
        cmocka_unit_test(names_of_backing_files_become_sources),
        cmocka_unit_test(names_that_are_none_are_refused),
        cmocka_unit_test(a_chain_is_read_from_the_headers),
        cmocka_unit_test(a_raw_disk_ends_whatever_its_bytes_say),
        cmocka_unit_test(a_chain_that_the_definition_ends_is_left_alone),
        cmocka_unit_test(a_chain_that_the_definition_begins_is_completed),
        cmocka_unit_test(chains_that_cannot_be_trusted_are_refused),
        cmocka_unit_test(a_format_that_is_not_said_is_guessed_where_nothing_hangs_on_it),
        cmocka_unit_test(a_chain_has_an_end),
        cmocka_unit_test(a_directory_that_qemu_may_not_enter_is_named),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
