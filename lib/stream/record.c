#include "record.h"

/* First byte of a head, and how many bytes of value follow it:
 *   00..7f  the value itself           cc cd ce cf  1 2 4 8 (uint)
 *   c4 c5 c6  1 2 4 (bin)              d0 d1 d2 d3  1 2 4 8 (int; a negative one is no length) */
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
    return negative ? UINT64_MAX : value; /* larger than any length may be: refused */
}

uint64_t record_read_big_endian(const unsigned char *p, size_t n)
{
    uint64_t value = 0;
    while (n--)
        value = value << 8 | *p++;
    return value;
}

bool record_is_well_formed(const unsigned char *map, size_t size)
{
    uint64_t open[RECORD_DEPTH_MAX + 1] = {1}; /* objects still to come on each level */
    int depth = 0;
    const unsigned char *p = map, *end = map + size;
    while (depth >= 0) {
        if (open[depth] == 0) {
            depth--;
            continue;
        }
        open[depth]--;
        if (p == end)
            return false;
        unsigned char c = *p++;
        size_t head = 0, body = 0;
        uint64_t items = 0;
        if (c >= 0x80 && c <= 0x8f)
            items = 2 * (c & 0x0f);
        else if (c >= 0x90 && c <= 0x9f)
            items = c & 0x0f;
        else if (c >= 0xa0 && c <= 0xbf)
            body = c & 0x1f;
        else if (c >= 0xc4 && c <= 0xc6)
            head = (size_t)1 << (c - 0xc4);
        else if (c >= 0xc7 && c <= 0xc9)
            head = (size_t)1 << (c - 0xc7), body = 1;
        else if (c == 0xca || c == 0xcb)
            body = c == 0xca ? 4 : 8;
        else if (c >= 0xcc && c <= 0xd3)
            body = (size_t)1 << ((c - 0xcc) % 4);
        else if (c >= 0xd4 && c <= 0xd8)
            body = 1 + ((size_t)1 << (c - 0xd4));
        else if (c >= 0xd9 && c <= 0xdb)
            head = (size_t)1 << (c - 0xd9);
        else if (c >= 0xdc && c <= 0xdf)
            head = c & 1 ? 4 : 2;
        if ((size_t)(end - p) < head)
            return false;
        uint64_t value = record_read_big_endian(p, head);
        p += head;
        if (c >= 0xdc && c <= 0xdf)
            items = c >= 0xde ? 2 * value : value;
        else
            body += value;
        if ((size_t)(end - p) < body || items > (size_t)(end - p))
            return false;
        p += body;
        if (items) {
            if (depth == RECORD_DEPTH_MAX)
                return false;
            open[++depth] = items;
        }
    }
    return p == end;
}
