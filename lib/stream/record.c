#include "record.h"

/* First byte of a header, and the number of bytes of its value:
 *   00..7f    0 (the byte is the value)    cc cd ce cf  1 2 4 8 (uint)
 *   c4 c5 c6  1 2 4 (bin)                  d0 d1 d2 d3  1 2 4 8 (int) */
size_t record_head_length(unsigned char first, bool *is_bin)
{
    *is_bin = first >= 0xc4 && first <= 0xc6;
    if (first < 0x80)
        return 1;
    if (*is_bin)
        return 1 + ((size_t)1 << (first - 0xc4));
    if (first >= 0xcc && first <= 0xcf)
        return 1 + ((size_t)1 << (first - 0xcc));
    if (first >= 0xd0 && first <= 0xd3)
        return 1 + ((size_t)1 << (first - 0xd0));
    return 0;
}

uint64_t record_head_value(const unsigned char *head)
{
    bool is_bin;
    size_t length = record_head_length(head[0], &is_bin);
    if (length <= 1)
        return head[0];
    uint64_t value = 0;
    for (size_t i = 1; i < length; i++)
        value = value << 8 | head[i];
    bool negative = head[0] >= 0xd0 && head[1] >= 0x80;
    return negative ? UINT64_MAX : value;
}

uint64_t record_read_big_endian(const unsigned char *p, size_t n)
{
    uint64_t value = 0;
    while (n--)
        value = value << 8 | *p++;
    return value;
}

/* An object's first byte describes how it continues: `length_bytes` bytes of a count or length,
 * then `body` bytes, then `items` objects. */
struct object_layout {
    size_t length_bytes, body;
    uint64_t items;
};

static struct object_layout get_object_layout(unsigned char first)
{
    struct object_layout l = {0};
    if (first >= 0x80 && first <= 0x8f) /* fixmap */
        l.items = 2 * (first & 0x0f);
    else if (first >= 0x90 && first <= 0x9f) /* fixarray */
        l.items = first & 0x0f;
    else if (first >= 0xa0 && first <= 0xbf) /* fixstr */
        l.body = first & 0x1f;
    else if (first >= 0xc4 && first <= 0xc6) /* bin */
        l.length_bytes = (size_t)1 << (first - 0xc4);
    else if (first >= 0xc7 && first <= 0xc9) /* ext: a type byte before the data */
        l.length_bytes = (size_t)1 << (first - 0xc7), l.body = 1;
    else if (first == 0xca || first == 0xcb) /* float */
        l.body = first == 0xca ? 4 : 8;
    else if (first >= 0xcc && first <= 0xd3) /* uint, int */
        l.body = (size_t)1 << ((first - 0xcc) % 4);
    else if (first >= 0xd4 && first <= 0xd8) /* fixext */
        l.body = 1 + ((size_t)1 << (first - 0xd4));
    else if (first >= 0xd9 && first <= 0xdb) /* str */
        l.length_bytes = (size_t)1 << (first - 0xd9);
    else if (first >= 0xdc && first <= 0xdf) /* array, map */
        l.length_bytes = first & 1 ? 4 : 2;
    return l;
}

/* Skips an object's own bytes at *p, and returns the number of objects inside it in *items. False
 * if bytes are missing. */
static bool skip_object(const unsigned char **p, const unsigned char *end, uint64_t *items)
{
    if (*p == end)
        return false;
    unsigned char first = *(*p)++;
    struct object_layout l = get_object_layout(first);
    if ((size_t)(end - *p) < l.length_bytes)
        return false;
    uint64_t length = record_read_big_endian(*p, l.length_bytes);
    *p += l.length_bytes;
    if (first >= 0xdc && first <= 0xdf)
        l.items = first >= 0xde ? 2 * length : length;
    else
        l.body += length;
    if ((size_t)(end - *p) < l.body || l.items > (size_t)(end - *p))
        return false;
    *p += l.body;
    *items = l.items;
    return true;
}

bool record_is_well_formed(const unsigned char *map, size_t size)
{
    if (size == 0) /* then `map` may be NULL */
        return false;
    uint64_t remaining[RECORD_DEPTH_MAX + 1] = {1}; /* objects still to come at each depth */
    int depth = 0;
    if (size == 0)
        return false;
    const unsigned char *p = map, *end = map + size;
    while (depth >= 0) {
        uint64_t items;
        if (remaining[depth] == 0) {
            depth--;
            continue;
        }
        remaining[depth]--;
        if (!skip_object(&p, end, &items))
            return false;
        if (items && depth == RECORD_DEPTH_MAX)
            return false;
        if (items)
            remaining[++depth] = items;
    }
    return p == end;
}
