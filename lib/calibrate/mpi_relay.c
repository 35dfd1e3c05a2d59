#include "mpi_relay.h"

#include "decode.h"
#include "encode.h"
#include "mpi.h"

#include <stdlib.h>

void mpi_broadcast_header(const struct header *h)
{
    struct bytes map = {0};
    if (mpi_process_count() == 1)
        return;
    encode_header(&map, h);
    uint64_t size = map.size;
    mpi_broadcast(&size, sizeof size);
    mpi_broadcast(map.data, size);
    bytes_free(&map);
}

struct header *mpi_receive_header(struct error *e)
{
    uint64_t size = 0;
    mpi_broadcast(&size, sizeof size);
    unsigned char *map = mem_alloc(size, 1);
    mpi_broadcast(map, size);
    struct header *h = header_new();
    int failed = decode_header(map, size, h, e);
    free(map);
    if (!failed)
        return h;
    header_free(h);
    return NULL;
}
