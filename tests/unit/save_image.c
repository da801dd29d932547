/* Files with saved guests: what is written is read, and what is not true is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <libvirt/virterror.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/base/memory.h"
#include "drivers/qemu/save_image.h"

static int parse(const uint8_t *bytes, size_t length, uint64_t size, struct vq_save_image *ret, struct vq_error *err)
{
    bool is_incomplete;

    *err = VQ_ERROR_INIT;
    return vq_save_image_parse_header(bytes, length, size, ret, &is_incomplete, err);
}

/* A finished one, malloc'ed. */
static uint8_t *build(const char *cookie, size_t *ret_length)
{
    struct vq_error err = VQ_ERROR_INIT;
    uint8_t *bytes;
    size_t magic_length;
    const char *magic = vq_save_image_finished_magic(&magic_length);

    assert_int_equal(vq_save_image_build("<domain/>", cookie, true, VQ_SAVE_XZ, &bytes, ret_length, &err), 0);
    memcpy(bytes, magic, magic_length);
    return bytes;
}

static void put(uint8_t *bytes, size_t offset, uint32_t value)
{
    memcpy(bytes + offset, &value, sizeof(value));
}

static void what_is_written_is_read(void **state)
{
    static const char *const cookies[] = { NULL, "<cookie/>" };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct vq_save_image image = { 0 };
        struct vq_error err;
        size_t length;
        VQ_AUTOFREE uint8_t *bytes = build(cookies[i], &length);

        assert_int_equal(length % VQ_SAVE_ALIGN_BYTES, 0);
        assert_int_equal(parse(bytes, length, length, &image, &err), 0);
        assert_int_equal(image.was_running, 1);
        assert_int_equal(image.format, VQ_SAVE_XZ);
        assert_int_equal(image.data, (off_t)length);
        assert_int_equal(vq_save_image_parse_texts(&image, bytes + VQ_SAVE_HEADER_BYTES, image.texts_length, &err), 0);
        assert_string_equal(image.xml, "<domain/>");
        if (cookies[i] == NULL)
            assert_null(image.cookie);
        else
            assert_string_equal(image.cookie, cookies[i]);
        vq_save_image_done(&image);
    }
}

static void an_unfinished_one_says_so(void **state)
{
    struct vq_save_image image;
    struct vq_error err = VQ_ERROR_INIT;
    bool is_incomplete = false;
    size_t length;
    uint8_t *bytes;

    (void)state;
    assert_int_equal(vq_save_image_build("<domain/>", NULL, true, VQ_SAVE_RAW, &bytes, &length, &err), 0);
    assert_int_equal(vq_save_image_parse_header(bytes, length, length, &image, &is_incomplete, &err), -1);
    assert_true(is_incomplete);
    assert_string_equal(err.message, "save image is incomplete");
    is_incomplete = false;
    assert_int_equal(vq_save_image_parse_header(bytes, 91, 91, &image, &is_incomplete, &err), -1);
    assert_true(is_incomplete);
    free(bytes);
}

static void numbers_of_the_other_byte_order_are_turned(void **state)
{
    struct vq_save_image image = { 0 };
    struct vq_error err;
    size_t length;
    VQ_AUTOFREE uint8_t *bytes = build("<cookie/>", &length);

    (void)state;
    for (size_t at = 16; at < 36; at += 4) {
        uint32_t value;

        memcpy(&value, bytes + at, sizeof(value));
        put(bytes, at, __builtin_bswap32(value));
    }
    assert_int_equal(parse(bytes, length, length, &image, &err), 0);
    assert_true(image.is_swapped);
    assert_int_equal(image.data, (off_t)length);
    assert_int_equal(image.format, VQ_SAVE_XZ);
}

static void lengths_are_not_believed(void **state)
{
    static const struct { size_t at; uint32_t value; const char *message; } cases[] = {
        { 16, 3, "image version is not supported (50331648 > 2)" },
        { 20, 0, "invalid header data length: 0" },
        { 20, 0x7fffffff, "failed to read cookie" },
        { 20, 0x80000000, "failed to read cookie" },
        { 20, UINT32_MAX, "failed to read cookie" },
        { 28, VQ_SAVE_FORMATS, "Invalid compressed save format 6" },
        { 32, 0x7fffffff, "failed to read domain XML" },
        { 32, UINT32_MAX, "failed to read domain XML" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct vq_save_image image;
        struct vq_error err;
        size_t length;
        VQ_AUTOFREE uint8_t *bytes = build("<cookie/>", &length);

        put(bytes, cases[i].at, cases[i].value);
        assert_int_equal(parse(bytes, length, length, &image, &err), -1);
        assert_int_equal(err.code, VIR_ERR_OPERATION_FAILED);
        assert_string_equal(err.message, cases[i].message);
    }
}

/* Nothing is allocated that the file does not have. */
static void a_file_that_is_shorter_than_it_says_is_refused_before_it_is_read(void **state)
{
    struct vq_save_image image;
    struct vq_error err;
    size_t length;
    VQ_AUTOFREE uint8_t *bytes = build(NULL, &length);

    (void)state;
    assert_int_equal(parse(bytes, VQ_SAVE_HEADER_BYTES, length - 1, &image, &err), -1);
    assert_string_equal(err.message, "failed to read domain XML");
}

static void texts_without_an_end_are_refused(void **state)
{
    struct vq_save_image image = { 0 };
    struct vq_error err;
    size_t length;
    VQ_AUTOFREE uint8_t *bytes = build("<cookie/>", &length);

    (void)state;
    assert_int_equal(parse(bytes, length, length, &image, &err), 0);
    memset(bytes + VQ_SAVE_HEADER_BYTES + image.cookie_offset, 'x', length - VQ_SAVE_HEADER_BYTES - image.cookie_offset);
    assert_int_equal(vq_save_image_parse_texts(&image, bytes + VQ_SAVE_HEADER_BYTES, image.texts_length, &err), -1);
    assert_string_equal(err.message, "failed to read cookie");
    memset(bytes + VQ_SAVE_HEADER_BYTES, 'x', length - VQ_SAVE_HEADER_BYTES);
    assert_int_equal(vq_save_image_parse_texts(&image, bytes + VQ_SAVE_HEADER_BYTES, image.texts_length, &err), -1);
    assert_string_equal(err.message, "failed to read domain XML");
    assert_null(image.xml);
    assert_null(image.cookie);
}

static void a_longer_definition_finds_room_and_one_too_long_is_refused(void **state)
{
    struct vq_save_image image = { 0 };
    struct vq_error err;
    uint8_t *again;
    size_t length, again_length;
    VQ_AUTOFREE uint8_t *bytes = build("<cookie/>", &length);
    VQ_AUTOFREE char *xml = vq_calloc(1, 2 * VQ_SAVE_ROOM_BYTES + 1);

    (void)state;
    assert_int_equal(parse(bytes, length, length, &image, &err), 0);
    assert_int_equal(vq_save_image_parse_texts(&image, bytes + VQ_SAVE_HEADER_BYTES, image.texts_length, &err), 0);
    memset(xml, 'x', VQ_SAVE_ROOM_BYTES - 100);
    assert_int_equal(vq_save_image_rebuild(&image, xml, false, &again, &again_length, &err), 0);
    assert_int_equal(again_length, length);
    assert_memory_equal(again, "LibvirtQemudSave", 16);
    free(again);
    memset(xml, 'x', 2 * VQ_SAVE_ROOM_BYTES);
    assert_int_equal(vq_save_image_rebuild(&image, xml, false, &again, &again_length, &err), -1);
    assert_string_equal(err.message, "new xml too large to fit in file");
    vq_save_image_done(&image);
}

static void a_file_is_read_up_to_its_data(void **state)
{
    struct vq_save_image image = { 0 };
    struct vq_error err = VQ_ERROR_INIT;
    bool is_incomplete;
    size_t length;
    VQ_AUTOFREE uint8_t *bytes = build(NULL, &length);
    int fd = memfd_create("image", MFD_CLOEXEC);

    (void)state;
    assert_int_equal(write(fd, bytes, length), (ssize_t)length);
    assert_int_equal(write(fd, "data", 4), 4);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_int_equal(vq_save_image_read(fd, &image, &is_incomplete, &err), 0);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), image.data);
    vq_save_image_done(&image);
    (void)close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(an_unfinished_one_says_so),
        cmocka_unit_test(numbers_of_the_other_byte_order_are_turned),
        cmocka_unit_test(lengths_are_not_believed),
        cmocka_unit_test(a_file_that_is_shorter_than_it_says_is_refused_before_it_is_read),
        cmocka_unit_test(texts_without_an_end_are_refused),
        cmocka_unit_test(a_longer_definition_finds_room_and_one_too_long_is_refused),
        cmocka_unit_test(a_file_is_read_up_to_its_data),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
