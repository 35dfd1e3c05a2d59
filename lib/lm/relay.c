#include "relay.h"

#include "decode.h"
#include "encode.h"
#include "ranks.h"

#include <stdlib.h>

void relay_send(const struct header *h)
{
    struct bytes map = {0};
    if (ranks_count() == 1)
        return;
    encode_header(&map, h);
    uint64_t size = map.size;
    ranks_broadcast(&size, sizeof size);
    ranks_broadcast(map.data, size);
    bytes_free(&map);
}

struct header *relay_receive(struct error *e)
{
    uint64_t size = 0;
    ranks_broadcast(&size, sizeof size);
    unsigned char *map = mem_alloc(size, 1);
    ranks_broadcast(map, size);
    struct header *h = header_new();
    int failed = decode_header(map, size, h, e);
    free(map);
    if (!failed)
        return h;
    header_free(h);
    return NULL;
}
