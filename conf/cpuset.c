/* The set is of fixed size, so no text can make it grow. */
#include "conf/cpuset.h"

#include <assert.h>
#include <string.h>

#include "conf/base/buffer.h"

bool vq_cpuset_has(const struct vq_cpuset *set, uint32_t bit)
{
    return bit < VQ_CPUSET_BITS && (set->words[bit / 64] >> (bit % 64) & 1);
}

void vq_cpuset_add(struct vq_cpuset *set, uint32_t bit)
{
    assert(bit < VQ_CPUSET_BITS);
    set->words[bit / 64] |= UINT64_C(1) << (bit % 64);
}

void vq_cpuset_remove(struct vq_cpuset *set, uint32_t bit)
{
    assert(bit < VQ_CPUSET_BITS);
    set->words[bit / 64] &= ~(UINT64_C(1) << (bit % 64));
}

uint32_t vq_cpuset_count(const struct vq_cpuset *set)
{
    uint32_t count = 0;

    for (size_t i = 0; i < VQ_CPUSET_WORDS; i++)
        count += (uint32_t)__builtin_popcountll(set->words[i]);
    return count;
}

int32_t vq_cpuset_next(const struct vq_cpuset *set, uint32_t from)
{
    if (from >= VQ_CPUSET_BITS)
        return -1;
    uint64_t rest = set->words[from / 64] & (~UINT64_C(0) << (from % 64));

    for (uint32_t word = from / 64;; rest = set->words[word]) {
        if (rest != 0)
            return (int32_t)(word * 64 + (uint32_t)__builtin_ctzll(rest));
        if (++word == VQ_CPUSET_WORDS)
            return -1;
    }
}

bool vq_cpuset_overlaps(const struct vq_cpuset *a, const struct vq_cpuset *b)
{
    for (size_t i = 0; i < VQ_CPUSET_WORDS; i++) {
        if (a->words[i] & b->words[i])
            return true;
    }
    return false;
}

static void skip_blanks(const char **at)
{
    *at += strspn(*at, " \t\r\n");
}

static bool take_number(const char **at, uint32_t limit, uint32_t *ret_number)
{
    uint32_t number = 0;

    if (**at < '0' || **at > '9')
        return false;
    for (; **at >= '0' && **at <= '9'; (*at)++) {
        number = number * 10 + (uint32_t)(**at - '0');
        if (number >= limit) /* also keeps the next digit from overflowing */
            return false;
    }
    *ret_number = number;
    return true;
}

static bool take_part(const char **at, uint32_t limit, struct vq_cpuset *set)
{
    uint32_t first, last;

    if (**at == '^') {
        (*at)++;
        if (!take_number(at, limit, &first))
            return false;
        vq_cpuset_remove(set, first);
        return true;
    }
    if (!take_number(at, limit, &first))
        return false;
    last = first;
    skip_blanks(at);
    if (**at == '-') {
        (*at)++;
        skip_blanks(at);
        if (!take_number(at, limit, &last) || last < first)
            return false;
    }
    for (uint32_t bit = first; bit <= last; bit++)
        vq_cpuset_add(set, bit);
    return true;
}

bool vq_cpuset_parse(const char *text, uint32_t limit, struct vq_cpuset *ret_set)
{
    struct vq_cpuset set = {0};
    const char *at = text;

    assert(limit <= VQ_CPUSET_BITS);
    for (;;) {
        skip_blanks(&at);
        if (!take_part(&at, limit, &set))
            return false;
        skip_blanks(&at);
        if (*at == '\0')
            break;
        if (*at++ != ',')
            return false;
    }
    if (vq_cpuset_next(&set, 0) < 0)
        return false;
    *ret_set = set;
    return true;
}

char *vq_cpuset_format(const struct vq_cpuset *set)
{
    VQ_AUTOBUFFER text = VQ_BUFFER_INIT;

    for (int32_t first = vq_cpuset_next(set, 0); first >= 0;) {
        uint32_t last = (uint32_t)first;

        while (vq_cpuset_has(set, last + 1))
            last++;
        vq_buffer_addf(&text, text.length > 0 ? ",%d" : "%d", first);
        if (last > (uint32_t)first)
            vq_buffer_addf(&text, "-%u", last);
        first = vq_cpuset_next(set, last + 1);
    }
    return vq_buffer_steal(&text);
}
