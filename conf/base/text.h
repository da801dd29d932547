/* Small text work: one strict number parser, UUIDs, names. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "conf/base/error.h"

enum { VQ_UUID_BYTES = 16, VQ_UUID_TEXT = 37 }; /* the text with its NUL */

/* The whole text must be a number within the range; base 0 takes 0x too. Leading blanks or signs are refused
 * (a '-' only where the type is signed). Return false and leave *ret_value alone otherwise. */
bool vq_parse_u64(const char *text, int base, uint64_t max, uint64_t *ret_value) VQ_MUST_CHECK;
bool vq_parse_i64(const char *text, int64_t min, int64_t max, int64_t *ret_value) VQ_MUST_CHECK;
/* A time: "90" or "90s", "15m", "1h", "2d", from 1 to max_ms in milliseconds; not 0. */
bool vq_parse_time_ms(const char *text, uint64_t max_ms, uint64_t *ret_ms) VQ_MUST_CHECK;

/* With or without dashes, any case. */
bool vq_uuid_parse(const char *text, uint8_t uuid[VQ_UUID_BYTES]) VQ_MUST_CHECK;
void vq_uuid_format(const uint8_t uuid[VQ_UUID_BYTES], char text[VQ_UUID_TEXT]);
bool vq_uuid_is_usable(const uint8_t uuid[VQ_UUID_BYTES]); /* not all bytes the same */

/* NULL is equal to NULL only. */
bool vq_streq(const char *a, const char *b);

/* One path component by grammar: not empty, no '/', no control character, not "." or "..", at most 255 bytes. */
bool vq_name_is_component(const char *name);
