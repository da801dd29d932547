/* Field tables: one value on its way from the document to its member. */
#define VQ_FROM VIR_FROM_XML
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/cpuset.h"
#include "conf/field_read.h"

enum { QUOTE_MAX = 80 /* bytes of a wrong value that a message quotes */ };

/* ---- refusing ---- */

int vq_quoted_length(const char *text)
{
    size_t length = strnlen(text, QUOTE_MAX + 1);

    if (length <= QUOTE_MAX)
        return (int)length;
    length = QUOTE_MAX;
    while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
        length--;
    return (int)length;
}

static void add_words(struct vq_buffer *buffer, const struct vq_field *row)
{
    const char *separator = "; known: ";

    for (uint32_t i = 0; i < row->n_names; i++) {
        if (row->names[i] == NULL)
            continue;
        vq_buffer_add(buffer, separator);
        vq_buffer_add(buffer, row->names[i]);
        separator = ", ";
    }
}

static int refuse_value(struct vq_reading *reading, const struct vq_value *value, const char *why)
{
    VQ_AUTOBUFFER detail = VQ_BUFFER_INIT;
    /* A secret is not told to whoever reads the message. */
    const char *text = value->leaf->row->flags & VQ_FIELD_SECRET ? "" : value->text;
    int length = vq_quoted_length(text);

    vq_buffer_addf(&detail, "line %u", value->node->line);
    if (why != NULL)
        vq_buffer_addf(&detail, "; %s", why);
    if (value->leaf->row->kind == VQ_FIELD_ENUM || value->leaf->row->kind == VQ_FIELD_STRING)
        add_words(&detail, value->leaf->row);
    if (value->leaf->row->flags & VQ_FIELD_UNSUPPORTED)
        return vq_error_set_from(reading->err, VIR_FROM_DOMAIN, VIR_ERR_CONFIG_UNSUPPORTED,
                                 "unknown %s '%.*s%s' of element '%s' (%s)",
                                 value->leaf->name != NULL ? value->leaf->name : "value", length, text,
                                 text[length] != '\0' ? "..." : "", value->node->name, detail.data);
    if (value->leaf->name != NULL)
        return vq_error_set(reading->err, VIR_ERR_XML_ERROR,
                            "Invalid value for attribute '%s' in element '%s': '%.*s%s' (%s)", value->leaf->name,
                            value->node->name, length, text, text[length] != '\0' ? "..." : "", detail.data);
    return vq_error_set(reading->err, VIR_ERR_XML_ERROR, "Invalid value for element '%s': '%.*s%s' (%s)",
                        value->node->name, length, text, text[length] != '\0' ? "..." : "", detail.data);
}

/* ---- single values ---- */

/* The factor of a unit: powers of 1024 for "K" and "KiB", of 1000 for "KB". 0 when there is no such unit. */
static uint64_t unit_scale(const char *unit)
{
    static const char letters[] = "kmgtpe";
    uint64_t base = 1024, scale = 1;

    if (strcasecmp(unit, "b") == 0 || strcasecmp(unit, "byte") == 0 || strcasecmp(unit, "bytes") == 0)
        return 1;
    char letter = unit[0] >= 'A' && unit[0] <= 'Z' ? (char)(unit[0] + ('a' - 'A')) : unit[0];
    const char *power = letter == '\0' ? NULL : strchr(letters, letter);
    if (power == NULL)
        return 0;
    if (strcasecmp(unit + 1, "b") == 0)
        base = 1000;
    else if (unit[1] != '\0' && strcasecmp(unit + 1, "ib") != 0)
        return 0;
    for (long i = power - letters; i >= 0; i--)
        scale *= base;
    return scale;
}

bool vq_size_parse(const char *text, const char *unit, uint64_t default_scale, uint64_t *ret_bytes)
{
    uint64_t scale = unit == NULL ? default_scale : unit_scale(unit);
    uint64_t number;

    if (scale == 0 || !vq_parse_u64(text, 10, UINT64_MAX / scale, &number))
        return false;
    *ret_bytes = number * scale;
    return true;
}

static int read_size(struct vq_reading *reading, const struct vq_value *value, uint64_t *member)
{
    const struct vq_field *row = value->leaf->row;
    struct vq_xml_attr *unit = row->flags & VQ_FIELD_BARE ? NULL : vq_xml_attr_find(value->node, "unit");
    uint64_t bytes;

    if (unit != NULL)
        unit->is_seen = true;
    if (unit != NULL && unit->value[0] == '\0')
        unit = NULL;
    if (unit != NULL && unit_scale(unit->value) == 0)
        return vq_error_set_from(reading->err, VIR_FROM_NONE, VIR_ERR_INVALID_ARG, "unknown suffix '%.*s' (line %u)",
                                 vq_quoted_length(unit->value), unit->value, value->node->line);
    if (!vq_size_parse(value->text, unit != NULL ? unit->value : NULL, row->scale, &bytes))
        return refuse_value(reading, value, "a size was expected, such as 4194304 or, with unit='GiB', 4");
    uint64_t number = bytes / row->scale + (bytes % row->scale != 0);
    if ((row->max != 0 && number > row->max) || number < row->min)
        return refuse_value(reading, value, "out of range");
    *member = number;
    return 0;
}

static int read_unsigned(struct vq_reading *reading, const struct vq_value *value, uint64_t type_max,
                         uint64_t *ret_number)
{
    const struct vq_field *row = value->leaf->row;
    uint64_t max = row->max != 0 ? row->max : type_max;

    if (!vq_parse_u64(value->text, row->flags & VQ_FIELD_HEX ? 0 : 10, max, ret_number) || *ret_number < row->min) {
        VQ_AUTOFREE char *range = vq_asprintf("a number from %llu to %llu was expected", (unsigned long long)row->min,
                                              (unsigned long long)max);
        return refuse_value(reading, value, range);
    }
    return 0;
}

static int read_number(struct vq_reading *reading, const struct vq_value *value, void *member)
{
    uint64_t number;
    int64_t with_sign;

    switch (value->leaf->row->kind) {
    case VQ_FIELD_UINT:
        if (read_unsigned(reading, value, UINT32_MAX, &number) < 0)
            return -1;
        *(uint32_t *)member = (uint32_t)number;
        return 0;
    case VQ_FIELD_U64:
        return read_unsigned(reading, value, UINT64_MAX, member);
    case VQ_FIELD_INT:
        if (!vq_parse_i64(value->text, INT32_MIN, INT32_MAX, &with_sign))
            return refuse_value(reading, value, "a number was expected");
        *(int32_t *)member = (int32_t)with_sign;
        return 0;
    default:
        if (!vq_parse_i64(value->text, INT64_MIN, INT64_MAX, member))
            return refuse_value(reading, value, "a number was expected");
        return 0;
    }
}

static int read_enum(struct vq_reading *reading, const struct vq_value *value, unsigned *member)
{
    const struct vq_field *row = value->leaf->row;

    for (uint32_t i = 0; i < row->n_names; i++) {
        if (row->names[i] != NULL && strcmp(row->names[i], value->text) == 0) {
            *member = i;
            return 0;
        }
    }
    return refuse_value(reading, value, NULL);
}

static int read_word(struct vq_reading *reading, const struct vq_value *value, bool *member)
{
    const struct vq_field *row = value->leaf->row;

    *member = strcmp(value->text, row->names[1]) == 0;
    if (!*member && !vq_streq(value->text, row->names[0]))
        return refuse_value(reading, value, row->names[1]);
    return 0;
}

static bool is_word(const struct vq_field *row, const char *text)
{
    for (uint32_t i = 0; i < row->n_names; i++) {
        if (strcmp(row->names[i], text) == 0)
            return true;
    }
    return false;
}

static void set_string(char **member, char *take_text)
{
    free(*member);
    *member = take_text;
}

static int read_string(struct vq_reading *reading, const struct vq_value *value, char **member)
{
    const struct vq_field *row = value->leaf->row;

    if (!(row->flags & VQ_FIELD_LINE_BREAKS) && value->text[strcspn(value->text, "\n\r")] != '\0')
        return refuse_value(reading, value, "it has a line break");
    if (row->n_names > 0 && !is_word(row, value->text))
        return refuse_value(reading, value, NULL);
    if (value->text[0] == '\0' && !(row->flags & VQ_FIELD_KEEP_EMPTY))
        return 0;
    if ((row->flags & VQ_FIELD_LIVE) && (reading->flags & VQ_FIELDS_PARSE_INACTIVE) && !row->keep(value->text))
        return 0;
    set_string(member, vq_strdup(value->text));
    return 0;
}

static int read_cpuset(struct vq_reading *reading, const struct vq_value *value, char **member)
{
    struct vq_cpuset set;

    if (!vq_cpuset_parse(value->text, VQ_CPUSET_BITS, &set)) {
        (void)refuse_value(reading, value, "a set of numbers was expected, such as 0-3,8");
        reading->err->code = VIR_ERR_INVALID_ARG;
        return -1;
    }
    set_string(member, vq_cpuset_format(&set));
    return 0;
}

static int read_mac(struct vq_reading *reading, const struct vq_value *value, uint8_t mac[6])
{
    const char *at = value->text;
    uint8_t parsed[6];

    /* One or two digits each, as in "52:54:0:1:2:3". */
    for (int i = 0; i < 6; i++) {
        size_t length = strspn(at, "0123456789abcdefABCDEF");
        char digits[3] = {0};
        uint64_t byte;

        if (length < 1 || length > 2 || at[length] != (i < 5 ? ':' : '\0'))
            return refuse_value(reading, value, "a MAC address was expected, such as 52:54:00:12:34:56");
        memcpy(digits, at, length);
        if (!vq_parse_u64(digits, 16, 255, &byte))
            return refuse_value(reading, value, NULL);
        parsed[i] = (uint8_t)byte;
        at += length + 1;
    }
    if (parsed[0] & 1)
        return refuse_value(reading, value, "expected unicast mac address, found multicast");
    memcpy(mac, parsed, sizeof(parsed));
    return 0;
}

static int read_chars(struct vq_reading *reading, const struct vq_value *value, char *member)
{
    size_t length = strlen(value->text);

    if (length >= value->leaf->row->size || strspn(value->text, "0123456789.") != length)
        return refuse_value(reading, value, NULL);
    memcpy(member, value->text, length + 1);
    return 0;
}

/* Kept as it will stand in the document again, with the blanks in front of it. */
static void read_markup(struct vq_reading *reading, const struct vq_value *value, char **member)
{
    int level = 1;

    for (const struct vq_xml_node *above = value->node->parent; above != NULL; above = above->parent)
        level++;
    vq_buffer_truncate(&reading->scratch, 0);
    for (const struct vq_xml_node *n = vq_xml_first_element(value->node); n != NULL; n = vq_xml_element_after(n)) {
        vq_buffer_addf(&reading->scratch, "%s%*s", reading->scratch.length > 0 ? "\n" : "", 2 * level, "");
        vq_xml_markup(&reading->scratch, n, level);
    }
    if (reading->scratch.length > 0)
        set_string(member, vq_strdup(reading->scratch.data));
}

/* Layout around the text of an element: meant for words and numbers, kept in strings. */
static const char *trimmed(const char *text, struct vq_buffer *scratch)
{
    const char *begin = text + strspn(text, " \t\r\n");
    size_t length = strlen(begin);

    while (length > 0 && strchr(" \t\r\n", begin[length - 1]) != NULL)
        length--;
    if (begin == text && text[length] == '\0')
        return text;
    VQ_AUTOFREE char *copy = vq_strndup(begin, length);
    vq_buffer_truncate(scratch, 0);
    vq_buffer_add(scratch, copy);
    return length > 0 ? scratch->data : "";
}

int vq_read_value(struct vq_reading *reading, struct vq_value value, void *object)
{
    const struct vq_leaf *leaf = value.leaf;
    const struct vq_field *row = leaf->row;
    void *member = vq_leaf_value(leaf, object);
    int result = 0;

    if ((row->flags & VQ_FIELD_LIVE) && (reading->flags & VQ_FIELDS_PARSE_INACTIVE) && row->keep == NULL) {
        struct vq_xml_attr *unit = row->kind == VQ_FIELD_SIZE ? vq_xml_attr_find(value.node, "unit") : NULL;

        if (unit != NULL)
            unit->is_seen = true;
        return 0;
    }
    if (leaf->name == NULL && row->kind != VQ_FIELD_STRING)
        value.text = trimmed(value.text, &reading->scratch);
    switch (row->kind) {
    case VQ_FIELD_STRING:
        result = read_string(reading, &value, member);
        break;
    case VQ_FIELD_CHARS:
        result = read_chars(reading, &value, member);
        break;
    case VQ_FIELD_ENUM:
        result = read_enum(reading, &value, member);
        break;
    case VQ_FIELD_WORD:
        result = read_word(reading, &value, member);
        break;
    case VQ_FIELD_SIZE:
        result = read_size(reading, &value, member);
        break;
    case VQ_FIELD_UUID:
        if (!vq_uuid_parse(value.text, member))
            result = refuse_value(reading, &value, "malformed uuid");
        break;
    case VQ_FIELD_MAC:
        result = read_mac(reading, &value, member);
        break;
    case VQ_FIELD_CPUSET:
        result = read_cpuset(reading, &value, member);
        break;
    case VQ_FIELD_MARKUP:
        read_markup(reading, &value, member);
        break;
    case VQ_FIELD_CONSTANT:
        return 0;
    default:
        result = read_number(reading, &value, member);
        break;
    }
    if (result == 0 && row->has_offset != 0)
        *((bool *)object + leaf->base + row->has_offset - 1) = true;
    return result;
}
