/* Tables that describe XML elements: one row serves the parser, the formatter, copying, freeing, the list of what is
 * not known, and the tests.
 *
 * A table describes one struct. A row says where in the document a value stands, relative to the struct's own
 * element, and in which member it is kept:
 *
 *     "@type"           attribute of the element itself        "driver/@cache"   attribute of a child
 *     "."               text of the element itself             "driver"          text of a child, or the child itself
 *
 * Rows stand in the order in which they are written; paths that begin alike are one element, written where it is first
 * named. Several rows may have one path: those whose conditions (VQ_WHEN) hold are read, the first that is to be
 * written is written. Attributes are read before
 * children, in the order of the rows, so a condition may look at what stands before it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/base/buffer.h"
#include "conf/base/error.h"
#include "conf/xml.h"

enum vq_field_kind {
    VQ_FIELD_STRING,   /* char *; empty text is "not said" unless VQ_FIELD_KEEP_EMPTY */
    VQ_FIELD_CHARS,    /* char[] inside the struct */
    VQ_FIELD_ENUM,     /* enum: index of the word in names; names[0] is only read and written when it is not NULL */
    VQ_FIELD_UINT,     /* uint32_t */
    VQ_FIELD_INT,      /* int32_t */
    VQ_FIELD_U64,      /* uint64_t */
    VQ_FIELD_I64,      /* int64_t */
    VQ_FIELD_SIZE,     /* uint64_t in units of .scale bytes (1024: KiB), with an attribute "unit" beside it */
    VQ_FIELD_UUID,     /* uint8_t[16] */
    VQ_FIELD_MAC,      /* uint8_t[6] */
    VQ_FIELD_CPUSET,   /* char *: a cpuset, kept in its shortest form */
    VQ_FIELD_PRESENT,  /* bool: the element is there */
    VQ_FIELD_WORD,     /* bool: the attribute or text is the word names[1]; anything else but names[0] is refused */
    VQ_FIELD_MARKUP,   /* char *: the elements inside, verbatim */
    VQ_FIELD_CONSTANT, /* nothing: written as it stands in .names[0], ignored when read */
    VQ_FIELD_STRUCT,   /* rows of another table, for a struct inside this one; the path may be "" */
    VQ_FIELD_OPTIONAL, /* a struct of its own, there if the element is */
    VQ_FIELD_LIST,     /* array of pointers to structs, one per element */
};

enum vq_field_flag {
    VQ_FIELD_REQUIRED = 1 << 0,   /* an element without it is refused */
    VQ_FIELD_ALWAYS = 1 << 1,     /* written even when zero; OPTIONAL: even when empty */
    VQ_FIELD_LIVE = 1 << 2,       /* not part of an inactive definition */
    VQ_FIELD_SECRET = 1 << 3,     /* written only on request */
    VQ_FIELD_HEX = 1 << 4,        /* numbers written as 0x..., with .width digits */
    VQ_FIELD_KEEP_EMPTY = 1 << 5, /* the empty string is a value */
    VQ_FIELD_LINE_BREAKS = 1 << 6, /* the text may have line breaks; others are refused with them */
    VQ_FIELD_BARE = 1 << 7,       /* SIZE without unit attribute */
    VQ_FIELD_OPEN = 1 << 8,       /* OPTIONAL: with an end tag even when empty, as libvirt's users know it */
    VQ_FIELD_PRETTY = 1 << 9,     /* SIZE written in the largest unit in which it is whole */
    VQ_FIELD_WITH_ELEMENT = 1 << 11, /* required if the element is there that it is an attribute of */
    VQ_FIELD_UNSUPPORTED = 1 << 10, /* a word that is not known is VIR_ERR_CONFIG_UNSUPPORTED, as libvirt has it */
};

struct vq_fields;

struct vq_field {
    const char *path;
    uint8_t kind;                   /* enum vq_field_kind */
    uint8_t width;                  /* HEX: digits */
    uint16_t flags;                 /* enum vq_field_flag */
    uint32_t offset;                /* of the member */
    uint32_t size;                  /* CHARS: bytes; LIST: the most elements there may be (0: VQ_FIELD_LIST_MAX) */
    uint32_t has_offset;            /* VQ_HAS: of the bool that tells whether a number is there, plus 1 */
    uint32_t count_offset;          /* LIST: of the size_t */
    uint32_t scale;                 /* SIZE: bytes per unit of the member */
    uint64_t min, max;              /* numbers; max 0: what the type holds */
    const char *const *names;       /* ENUM; STRING: all that it may be; SIZE: one name instead of the unit's own */
    uint32_t n_names;
    const struct vq_fields *fields; /* STRUCT, OPTIONAL, LIST */
    uint32_t when_offset;           /* VQ_WHEN: of the enum that decides */
    uint64_t when_values;           /* bit n: the row counts while the enum is n; 0: always */
    bool (*keep)(const char *text); /* LIVE strings: true for those that belong to the definition nevertheless */
    bool (*shown)(const void *object); /* whether to write it now; object: the struct that this table describes */
    /* LIST: true for an element that any daemon adds by itself: left out of what is sent to another one, which may be
     * older and not expect it. */
    bool (*implied)(const void *element, const void *object);
};

struct vq_field_tree; /* a table ready for use; made once */

struct vq_fields {
    const char *name;               /* what it describes, for messages: "disk" */
    const struct vq_field *rows;
    uint32_t n_rows;
    uint32_t size;                  /* of the struct */
    struct vq_field_tree **tree;
    /* After the rows of an element were read: for what a row cannot say. Returns -1 with err set. */
    int (*parsed)(void *object, const struct vq_xml_node *node, struct vq_error *err);
};

enum { VQ_FIELD_LIST_MAX = 4096 };

/* ---- writing tables ---- */

/* The offset of a member, and a compile error when it is not of the expected type. */
#define VQ_MEMBER_(type, member, wanted)                                                                               \
    (offsetof(struct type, member) +                                                                                   \
     0 * sizeof(char[__builtin_types_compatible_p(__typeof__(((struct type *)0)->member), wanted) ? 1 : -1]))
#define VQ_MEMBER_SIZED_(type, member, bytes)                                                                          \
    (offsetof(struct type, member) + 0 * sizeof(char[sizeof(((struct type *)0)->member) == (bytes) ? 1 : -1]))

#define VQ_STRING(p, type, m, ...)                                                                                     \
    {.path = p, .kind = VQ_FIELD_STRING, .offset = VQ_MEMBER_(type, m, char *), __VA_ARGS__}
#define VQ_CPUSET(p, type, m, ...)                                                                                     \
    {.path = p, .kind = VQ_FIELD_CPUSET, .offset = VQ_MEMBER_(type, m, char *), __VA_ARGS__}
#define VQ_MARKUP(p, type, m, ...)                                                                                     \
    {.path = p, .kind = VQ_FIELD_MARKUP, .offset = VQ_MEMBER_(type, m, char *), __VA_ARGS__}
#define VQ_CHARS(p, type, m, ...)                                                                                      \
    {.path = p, .kind = VQ_FIELD_CHARS, .offset = offsetof(struct type, m),                                        \
     .size = sizeof(((struct type *)0)->m), __VA_ARGS__}
#define VQ_ENUM(p, type, m, n, ...)                                                                                    \
    {.path = p, .kind = VQ_FIELD_ENUM, .offset = VQ_MEMBER_SIZED_(type, m, sizeof(unsigned)), .names = n,              \
     .n_names = VQ_N_ELEMENTS(n), __VA_ARGS__}
#define VQ_YES_NO(p, type, m, ...)                                                                                     \
    {.path = p, .kind = VQ_FIELD_ENUM, .offset = VQ_MEMBER_(type, m, enum vq_switch), .names = vq_yes_no_names,        \
     .n_names = 3, __VA_ARGS__}
#define VQ_ON_OFF(p, type, m, ...)                                                                                     \
    {.path = p, .kind = VQ_FIELD_ENUM, .offset = VQ_MEMBER_(type, m, enum vq_switch), .names = vq_on_off_names,        \
     .n_names = 3, __VA_ARGS__}
#define VQ_UINT(p, type, m, ...)                                                                                       \
    {.path = p, .kind = VQ_FIELD_UINT, .offset = VQ_MEMBER_(type, m, uint32_t), __VA_ARGS__}
#define VQ_INT(p, type, m, ...) {.path = p, .kind = VQ_FIELD_INT, .offset = VQ_MEMBER_(type, m, int32_t), __VA_ARGS__}
#define VQ_U64(p, type, m, ...) {.path = p, .kind = VQ_FIELD_U64, .offset = VQ_MEMBER_(type, m, uint64_t), __VA_ARGS__}
#define VQ_I64(p, type, m, ...) {.path = p, .kind = VQ_FIELD_I64, .offset = VQ_MEMBER_(type, m, int64_t), __VA_ARGS__}
#define VQ_SIZE(p, type, m, unit, ...)                                                                                 \
    {.path = p, .kind = VQ_FIELD_SIZE, .offset = VQ_MEMBER_(type, m, uint64_t), .scale = unit, __VA_ARGS__}
#define VQ_UUID(p, type, m, ...)                                                                                       \
    {.path = p, .kind = VQ_FIELD_UUID, .offset = VQ_MEMBER_(type, m, uint8_t[16]), __VA_ARGS__}
#define VQ_MAC(p, type, m, ...)                                                                                        \
    {.path = p, .kind = VQ_FIELD_MAC, .offset = VQ_MEMBER_(type, m, uint8_t[6]), __VA_ARGS__}
#define VQ_PRESENT(p, type, m, ...)                                                                                    \
    {.path = p, .kind = VQ_FIELD_PRESENT, .offset = VQ_MEMBER_(type, m, bool), __VA_ARGS__}
#define VQ_WORD(p, type, m, n, ...)                                                                                    \
    {.path = p, .kind = VQ_FIELD_WORD, .offset = VQ_MEMBER_(type, m, bool), .names = n, .n_names = 2, __VA_ARGS__}
#define VQ_CONSTANT(p, text, ...)                                                                                      \
    {.path = p, .kind = VQ_FIELD_CONSTANT, .names = (const char *const[]){text}, .n_names = 1, __VA_ARGS__}
#define VQ_STRUCT(p, type, m, table, ...)                                                                              \
    {.path = p, .kind = VQ_FIELD_STRUCT, .offset = offsetof(struct type, m), .fields = &table, __VA_ARGS__}
/* Rows of another table about the same struct. */
#define VQ_SAME(p, table, ...) {.path = p, .kind = VQ_FIELD_STRUCT, .offset = 0, .fields = &table, __VA_ARGS__}
#define VQ_OPTIONAL(p, type, m, table, ...)                                                                            \
    {.path = p, .kind = VQ_FIELD_OPTIONAL, .offset = VQ_MEMBER_SIZED_(type, m, sizeof(void *)), .fields = &table,      \
     __VA_ARGS__}
#define VQ_LIST(p, type, m, table, ...)                                                                                \
    {.path = p, .kind = VQ_FIELD_LIST, .offset = VQ_MEMBER_SIZED_(type, m, sizeof(void *)),                            \
     .count_offset = VQ_MEMBER_(type, n_##m, size_t), .fields = &table, __VA_ARGS__}

/* Further words of a row. */
#define VQ_HAS(type, m)          .has_offset = VQ_MEMBER_(type, m, bool) + 1
#define VQ_WHEN(type, m, values) .when_offset = VQ_MEMBER_SIZED_(type, m, sizeof(unsigned)), .when_values = (values)
#define VQ_IS(value)             (UINT64_C(1) << (value))
/* What a string may be, and nothing else. */
#define VQ_WORDS(...)                                                                                                  \
    .names = (const char *const[]){__VA_ARGS__}, .n_names = sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)

/* Name a table: static struct, or with VQ_FIELDS_EXPORT one that other files use. */
#define VQ_FIELDS_EXPORT(table, word, type, table_rows, ...)                                                           \
    static struct vq_field_tree *table##_tree;                                                                         \
    const struct vq_fields table = {.name = word, .rows = table_rows, .n_rows = VQ_N_ELEMENTS(table_rows),             \
                                    .size = sizeof(struct type), .tree = &table##_tree, __VA_ARGS__}
#define VQ_FIELDS(table, word, type, table_rows, ...)                                                                  \
    static struct vq_field_tree *table##_tree;                                                                         \
    static const struct vq_fields table = {.name = word, .rows = table_rows, .n_rows = VQ_N_ELEMENTS(table_rows),      \
                                           .size = sizeof(struct type), .tree = &table##_tree, __VA_ARGS__}

extern const char *const vq_yes_no_names[3], *const vq_on_off_names[3];

/* ---- using tables ---- */

/* What in a document no row knows: text of up to max lines "path:line: devices/disk/driver@cahce: unknown attribute;
 * known: cache, discard". */
struct vq_field_report {
    const char *document;     /* "domain.xml" */
    unsigned n_unknown;       /* all that were found */
    unsigned n_lines;         /* those in text */
    struct vq_buffer text;    /* each line ends with a newline */
};
enum { VQ_FIELD_REPORT_MAX = 32 };

enum { VQ_FIELDS_PARSE_INACTIVE = 1 };
enum { VQ_FIELDS_INACTIVE = 1, VQ_FIELDS_SECURE = 2, VQ_FIELDS_MIGRATABLE = 4 };

/* Read an element into a zeroed struct. On failure the struct holds what was read so far: vq_fields_clear() it.
 * report may be NULL.
 *
 * Errors: VIR_ERR_XML_ERROR, messages naming attribute, element and line. */
VQ_MUST_CHECK int vq_fields_parse(const struct vq_fields *fields, const struct vq_xml_node *node, unsigned flags,
                                  void *object, struct vq_field_report *report, struct vq_error *err);
/* Write the struct as an element called name, at the buffer's indentation. True: a secret is in it. */
bool vq_fields_format(const struct vq_fields *fields, const void *object, const char *name, unsigned flags,
                      struct vq_buffer *buffer);
/* A copy of the struct and all it owns, malloc'ed. */
void *vq_fields_copy(const struct vq_fields *fields, const void *object) __attribute__((returns_nonnull));
/* Free all that the struct owns and zero it; the struct itself stays. */
void vq_fields_clear(const struct vq_fields *fields, void *object);
void vq_fields_free(const struct vq_fields *fields, void *object);

/* A number with a unit ("KiB", "M", "bytes"; NULL: the given one) in bytes. False when it is not one, or too large. */
bool vq_size_parse(const char *text, const char *unit, uint64_t default_scale, uint64_t *ret_bytes) VQ_MUST_CHECK;
