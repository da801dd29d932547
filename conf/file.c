/* Configuration files: a cursor over the text, one value at a time. */
#define VQ_FROM VIR_FROM_CONF
#include "conf/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"

enum { KEY_BYTES_MAX = 64, DISTANCE_MAX = 2 };

struct cursor {
    const char *at;
    const char *name;
    unsigned line;
    const struct vq_key *keys;
    size_t n_keys;
    void *object;
    struct vq_buffer *unknown;
    struct vq_error *err;
};

/* A value as written: a number, or one string, or a list of strings. */
struct value {
    enum { NUMBER, STRING, LIST } kind;
    int64_t number;
    char **strings; /* NULL at the end */
    size_t n_strings;
};

static void value_done(struct value *value)
{
    for (size_t i = 0; i < value->n_strings; i++)
        free(value->strings[i]);
    free(value->strings);
}

static int refuse(struct cursor *cursor, const char *why)
{
    return vq_error_set(cursor->err, VIR_ERR_CONF_SYNTAX, "%s:%u: %s", cursor->name, cursor->line, why);
}

/* Blanks and comments; line ends too where a value may go on behind them. */
static void skip(struct cursor *cursor, bool over_lines)
{
    for (;;) {
        cursor->at += strspn(cursor->at, " \t\r");
        if (*cursor->at == '#')
            cursor->at += strcspn(cursor->at, "\n");
        if (*cursor->at != '\n' || !over_lines)
            return;
        cursor->line++;
        cursor->at++;
    }
}

static void append_string(struct value *value, const char *text, size_t length)
{
    /* Always room for the NULL behind the last. */
    value->strings = vq_realloc(value->strings, value->n_strings + 2, sizeof(*value->strings));
    value->strings[value->n_strings++] = vq_strndup(text, length);
    value->strings[value->n_strings] = NULL;
}

static int take_string(struct cursor *cursor, struct value *value)
{
    const char *begin = cursor->at, *end;

    if (strncmp(begin, "\"\"\"", 3) == 0) {
        begin += 3;
        end = strstr(begin, "\"\"\"");
        if (end == NULL)
            return refuse(cursor, "unterminated string: \"\"\" is missing");
        for (const char *c = begin; c < end; c++)
            cursor->line += *c == '\n';
        cursor->at = end + 3;
    } else {
        end = strchr(begin + 1, *begin);
        if (end == NULL || memchr(begin + 1, '\n', (size_t)(end - begin) - 1) != NULL)
            return refuse(cursor, "unterminated string");
        begin++;
        cursor->at = end + 1;
    }
    append_string(value, begin, (size_t)(end - begin));
    return 0;
}

static int take_number(struct cursor *cursor, struct value *value)
{
    char digits[24];
    size_t length = strspn(cursor->at, "-0123456789");

    if (length == 0 || length >= sizeof(digits))
        return refuse(cursor, "expecting a value: a number, a string in quotes or a list in brackets");
    memcpy(digits, cursor->at, length);
    digits[length] = '\0';
    if (!vq_parse_i64(digits, INT64_MIN, INT64_MAX, &value->number))
        return refuse(cursor, "expecting a number");
    cursor->at += length;
    return 0;
}

static int take_list(struct cursor *cursor, struct value *value)
{
    value->kind = LIST;
    value->strings = vq_calloc(1, sizeof(*value->strings));
    cursor->at++;
    for (;;) {
        skip(cursor, true);
        if (*cursor->at == ']') {
            cursor->at++;
            return 0;
        }
        if (*cursor->at != '"' && *cursor->at != '\'')
            return refuse(cursor, "expecting a string in quotes, or ] at the end of the list");
        if (value->n_strings >= VQ_FILE_STRINGS_MAX)
            return refuse(cursor, "the list is too long");
        if (take_string(cursor, value) < 0)
            return -1;
        skip(cursor, true);
        if (*cursor->at == ',')
            cursor->at++;
        else if (*cursor->at != ']')
            return refuse(cursor, "expecting , or ] behind an element of a list");
    }
}

static int take_value(struct cursor *cursor, struct value *value)
{
    if (*cursor->at == '[')
        return take_list(cursor, value);
    if (*cursor->at == '"' || *cursor->at == '\'') {
        value->kind = STRING;
        return take_string(cursor, value);
    }
    value->kind = NUMBER;
    return take_number(cursor, value);
}

/* ---- from values to members ---- */

static int refuse_value(struct cursor *cursor, const struct vq_key *key, const char *wanted)
{
    return vq_error_set(cursor->err, VIR_ERR_CONF_SYNTAX, "%s:%u: '%s' must be %s", cursor->name, cursor->line,
                        key->name, wanted);
}

static int store_number(struct cursor *cursor, const struct vq_key *key, const struct value *value)
{
    void *member = (char *)cursor->object + key->offset;
    bool has_range = key->min != 0 || key->max != 0;
    int64_t min = has_range ? key->min : key->kind == VQ_KEY_INT ? INT64_MIN : 0;
    int64_t max = has_range                  ? key->max
                  : key->kind == VQ_KEY_INT  ? INT64_MAX
                  : key->kind == VQ_KEY_BOOL ? 1
                                             : UINT32_MAX;

    if (value->kind != NUMBER || value->number < min || value->number > max) {
        VQ_AUTOFREE char *wanted = vq_asprintf("a number from %lld to %lld", (long long)min, (long long)max);
        return refuse_value(cursor, key, wanted);
    }
    if (key->kind == VQ_KEY_BOOL)
        *(bool *)member = value->number != 0;
    else if (key->kind == VQ_KEY_UINT)
        *(uint32_t *)member = (uint32_t)value->number;
    else
        *(int64_t *)member = value->number;
    return 0;
}

static void clear_member(const struct vq_key *key, void *object)
{
    void *member = (char *)object + key->offset;

    if (key->kind == VQ_KEY_STRING) {
        free(*(char **)member);
        *(char **)member = NULL;
    } else if (key->kind == VQ_KEY_STRINGS) {
        char ***strings = member;

        for (char **s = *strings; s != NULL && *s != NULL; s++)
            free(*s);
        free(*strings);
        *strings = NULL;
    }
}

static int store(struct cursor *cursor, const struct vq_key *key, struct value *value)
{
    void *member = (char *)cursor->object + key->offset;

    if (key->kind == VQ_KEY_IDLE) {
        if (cursor->unknown != NULL)
            vq_buffer_addf(cursor->unknown, "%s:%u: '%s' has no effect: %s\n", cursor->name, cursor->line, key->name, key->why);
        return 0;
    }
    if (key->kind != VQ_KEY_STRING && key->kind != VQ_KEY_STRINGS)
        return store_number(cursor, key, value);
    if (value->kind == NUMBER || (value->kind == LIST && key->kind != VQ_KEY_STRINGS))
        return refuse_value(cursor, key, key->kind == VQ_KEY_STRINGS ? "a list of strings" : "a string in quotes");
    clear_member(key, cursor->object);
    if (key->kind != VQ_KEY_STRINGS) {
        *(char **)member = vq_strdup(value->strings[0]);
    } else {
        *(char ***)member = vq_take(value->strings);
        value->n_strings = 0;
    }
    return 0;
}

/* How many letters must change to get from one word to the other, at most DISTANCE_MAX + 1. */
static unsigned distance(const char *a, const char *b, unsigned budget)
{
    while (*a != '\0' && *a == *b)
        a++, b++;
    if (*a == '\0' && *b == '\0')
        return 0;
    if (budget == 0)
        return 1;
    unsigned best = budget + 1;
    if (a[0] != '\0' && b[0] != '\0') {
        unsigned replaced = 1 + distance(a + 1, b + 1, budget - 1);
        best = replaced < best ? replaced : best;
        if (a[0] == b[1] && a[1] == b[0]) {
            unsigned swapped = 1 + distance(a + 2, b + 2, budget - 1);
            best = swapped < best ? swapped : best;
        }
    }
    if (a[0] != '\0') {
        unsigned removed = 1 + distance(a + 1, b, budget - 1);
        best = removed < best ? removed : best;
    }
    if (b[0] != '\0') {
        unsigned added = 1 + distance(a, b + 1, budget - 1);
        best = added < best ? added : best;
    }
    return best;
}

static void report_unknown(struct cursor *cursor, const char *word)
{
    const char *nearest = NULL;
    unsigned best = DISTANCE_MAX + 1;

    if (cursor->unknown == NULL)
        return;
    for (size_t i = 0; i < cursor->n_keys; i++) {
        unsigned d = distance(word, cursor->keys[i].name, DISTANCE_MAX);

        if (d < best) {
            best = d;
            nearest = cursor->keys[i].name;
        }
    }
    vq_buffer_addf(cursor->unknown, "%s:%u: unknown key '%s'", cursor->name, cursor->line, word);
    if (nearest != NULL)
        vq_buffer_addf(cursor->unknown, "; did you mean '%s'?", nearest);
    vq_buffer_add(cursor->unknown, "\n");
}

static int take_setting(struct cursor *cursor)
{
    char word[KEY_BYTES_MAX + 1];
    size_t length = strspn(cursor->at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.");
    const struct vq_key *key = NULL;
    struct value value = {0};

    if (length == 0)
        return refuse(cursor, "expecting a name");
    if (length > KEY_BYTES_MAX)
        return refuse(cursor, "the name is too long");
    memcpy(word, cursor->at, length);
    word[length] = '\0';
    cursor->at += length;
    for (size_t i = 0; i < cursor->n_keys && key == NULL; i++)
        key = strcmp(cursor->keys[i].name, word) == 0 ? &cursor->keys[i] : NULL;
    skip(cursor, false);
    if (*cursor->at != '=')
        return refuse(cursor, "expecting an assignment: =");
    if (key == NULL)
        report_unknown(cursor, word);
    cursor->at++;
    skip(cursor, false);

    int result = take_value(cursor, &value);
    if (result == 0 && key != NULL)
        result = store(cursor, key, &value);
    value_done(&value);
    if (result < 0)
        return -1;
    skip(cursor, false);
    if (*cursor->at != '\n' && *cursor->at != '\0')
        return refuse(cursor, "expecting the end of the line");
    return 0;
}

int vq_file_parse(const char *text, const char *name, const struct vq_key *keys, size_t n_keys, void *object,
                  struct vq_buffer *unknown, struct vq_error *err)
{
    struct cursor cursor = {.at = text,
                            .name = name,
                            .line = 1,
                            .keys = keys,
                            .n_keys = n_keys,
                            .object = object,
                            .unknown = unknown,
                            .err = err};

    for (skip(&cursor, true); *cursor.at != '\0'; skip(&cursor, true)) {
        if (take_setting(&cursor) < 0)
            return -1;
    }
    return 0;
}

static int read_all(int fd, const char *path, struct vq_buffer *text, struct vq_error *err)
{
    for (;;) {
        vq_buffer_reserve(text, 16384);
        ssize_t n = read(fd, text->data + text->length, 16384);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vq_error_system(err, errno, "cannot read '%s'", path);
        if (n == 0)
            break;
        text->length += (size_t)n;
        text->data[text->length] = '\0';
        if (text->length > VQ_FILE_BYTES_MAX)
            return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "%s: larger than %d bytes", path, VQ_FILE_BYTES_MAX);
    }
    if (memchr(text->data, '\0', text->length) != NULL)
        return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "%s: not a text file: it has NUL bytes", path);
    return 0;
}

int vq_file_read(const char *path, const struct vq_key *keys, size_t n_keys, void *object, struct vq_buffer *unknown,
                 bool *ret_is_there, struct vq_error *err)
{
    VQ_AUTOCLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    VQ_AUTOBUFFER text = VQ_BUFFER_INIT;

    if (fd < 0 && errno == ENOENT) {
        *ret_is_there = false;
        return 0;
    }
    if (fd < 0)
        return vq_error_system(err, errno, "cannot open '%s'", path);
    if (read_all(fd, path, &text, err) < 0 || vq_file_parse(text.data, path, keys, n_keys, object, unknown, err) < 0)
        return -1;
    *ret_is_there = true;
    return 0;
}

void vq_file_clear(const struct vq_key *keys, size_t n_keys, void *object)
{
    for (size_t i = 0; i < n_keys; i++)
        clear_member(&keys[i], object);
}
