/* Numbers, UUIDs and names from text. */
#include "conf/base/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool vq_parse_u64(const char *text, int base, uint64_t max, uint64_t *ret_value)
{
    char *end;

    /* strtoull() itself would take blanks and signs in front. */
    if (text == NULL || !(base == 16 ? isxdigit((unsigned char)text[0]) : isdigit((unsigned char)text[0])))
        return false;
    errno = 0;
    unsigned long long value = strtoull(text, &end, base);
    if (errno != 0 || end == text || *end != '\0' || value > max)
        return false;
    *ret_value = value;
    return true;
}

bool vq_parse_i64(const char *text, int64_t min, int64_t max, int64_t *ret_value)
{
    char *end;

    if (text == NULL || ((text[0] < '0' || text[0] > '9') && text[0] != '-'))
        return false;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < min || value > max)
        return false;
    *ret_value = value;
    return true;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool vq_uuid_parse(const char *text, uint8_t uuid[VQ_UUID_BYTES])
{
    uint8_t parsed[VQ_UUID_BYTES];

    for (int i = 0; i < VQ_UUID_BYTES; i++) {
        while (i > 0 && *text == '-')
            text++;
        int high = hex_value(text[0]);
        int low = high < 0 ? -1 : hex_value(text[1]);
        if (low < 0)
            return false;
        parsed[i] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    if (*text != '\0')
        return false;
    memcpy(uuid, parsed, sizeof(parsed));
    return true;
}

void vq_uuid_format(const uint8_t uuid[VQ_UUID_BYTES], char text[VQ_UUID_TEXT])
{
    static const char digits[] = "0123456789abcdef";

    for (int i = 0; i < VQ_UUID_BYTES; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *text++ = '-';
        *text++ = digits[uuid[i] >> 4];
        *text++ = digits[uuid[i] & 15];
    }
    *text = '\0';
}

bool vq_uuid_is_usable(const uint8_t uuid[VQ_UUID_BYTES])
{
    for (int i = 1; i < VQ_UUID_BYTES; i++)
        if (uuid[i] != uuid[0])
            return true;
    return false;
}

bool vq_streq(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

bool vq_name_is_component(const char *name)
{
    size_t length = name == NULL ? 0 : strnlen(name, 256);

    if (length == 0 || length > 255 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return false;
    for (const char *c = name; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f || *c == '/')
            return false;
    return true;
}

bool vq_parse_time_ms(const char *text, uint64_t max_ms, uint64_t *ret_ms)
{
    static const struct {
        char unit;
        uint64_t ms;
    } units[] = {{'s', 1000}, {'m', 60 * 1000}, {'h', 3600 * 1000}, {'d', 24 * 3600 * 1000}};
    char digits[16];
    size_t length = strlen(text);
    uint64_t ms = 1000, value;

    if (length == 0 || length >= sizeof(digits))
        return false;
    memcpy(digits, text, length + 1);
    for (size_t i = 0; i < VQ_N_ELEMENTS(units); i++)
        if (text[length - 1] == units[i].unit) {
            ms = units[i].ms;
            digits[length - 1] = '\0';
        }
    if (!vq_parse_u64(digits, 10, max_ms / ms, &value) || value == 0)
        return false;
    *ret_ms = value * ms;
    return true;
}
