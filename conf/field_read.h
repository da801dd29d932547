/* Reading of documents, between conf/field_value.c (one value) and conf/field_parse.c (elements). Inside those only. */
#pragma once

#include "conf/field_tree.h"

struct vq_reading {
    unsigned flags;
    struct vq_field_report *report;
    struct vq_error *err;
    struct vq_buffer scratch; /* for texts in several pieces */
};

/* One value on its way from the document to its member. */
struct vq_value {
    const struct vq_leaf *leaf;
    const struct vq_xml_node *node; /* the element that has it */
    const char *text;
};

/* At most so many bytes of a text as messages quote, not cutting a character of UTF-8 in two. */
int vq_quoted_length(const char *text);
/* Check the value and put it into its member, and into the bool that tells that it is there. */
int vq_read_value(struct vq_reading *reading, struct vq_value value, void *object);
