/* A stream from a pipe, compressed or not: every tensor with all of its payload. The mutator keeps
 * lengths and hashes right: it mutates one object, writes its new length, and computes all hashes
 * again. */
#include "byte_input.h"
#include "decode.h"
#include "encode.h"
#include "fuzz.h"
#include "hash.h"
#include "reader.h"
#include "used_weights.h"

#define MAGIC_SIZE 5

/* ---- the target ------------------------------------------------------------------------------ */

static int read_payload(struct reader *r, const struct tensor *t, struct error *e)
{
    for (size_t b = 0, first, n; b < tensor_block_count(t); b++)
        for (size_t k = 0; k < t->n_vectors; k++) {
            tensor_block_range(t, b, &first, &n);
            size_t size = dtype_bytes(t->vectors[k].dtype, n);
            if (size > 1 << 20)
                return -1; /* more than any input has */
            void *to = malloc(size + 1);
            int failed = reader_read_payload(r, to, size, e);
            free(to);
            if (failed)
                return -1;
        }
    return 0;
}

/* What is encoded must decode as the same. */
static void check_encoding(const struct header *h, const struct tensor *t)
{
    struct error e = {0};
    struct arena a = {0};
    struct tensor again;
    struct bytes once = {0}, twice = {0};
    encode_tensor_record(&once, t);
    int failed = decode_tensor_record(once.data, once.size, h, &a, &again, &e);
    if (!failed)
        encode_tensor_record(&twice, &again);
    if (failed || once.size != twice.size || memcmp(once.data, twice.data, once.size) != 0) {
        dprintf(fuzz_log, "%s: the encoding differs: %s\n", t->name, e.text);
        abort();
    }
    bytes_free(&once);
    bytes_free(&twice);
    arena_free(&a);
}

/* The weights that joins used, as a checkpoint has them. */
static void collect_weights(const struct header *h, const struct tensor *t)
{
    struct used_weights *all = used_weights_new(h->n_tensors);
    for (size_t k = 0; k < t->n_vectors; k++)
        used_weights_add(all, 0, &t->vectors[k]);
    free(used_weights_text(all, h));
    used_weights_free(all);
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct error e;
    struct tensor t;
    struct arena a = {0};
    bool copied;
    if (byte_input_is_compressed(bytes, size))
        fuzz_fixed_memory = FUZZ_LARGE_MEMORY;
    struct reader *r = reader_open(fuzz_descriptor(bytes, size), "input", &e);
    if (!r)
        return;
    bool twice = reader_make_rewindable(r, NULL, &copied, &e) == 0;
    while (reader_next_tensor(r, &a, &t, &e) > 0 && read_payload(r, &t, &e) == 0) {
        check_encoding(reader_header(r), &t);
        collect_weights(reader_header(r), &t);
        arena_clear(&a);
    }
    if (twice && reader_rewind(r, &e) == 0)
        reader_next_tensor(r, &a, &t, &e);
    arena_free(&a);
    reader_close(r);
}

/* ---- the mutator ----------------------------------------------------------------------------- */

/* The object at `at`: the offset of its contents, whose number is *n; 0 if there is none. */
static size_t find_contents(const uint8_t *bytes, size_t size, size_t at, bool *is_bin, size_t *n)
{
    size_t head = at < size ? record_head_length(bytes[at], is_bin) : 0;
    if (!head || head > size - at)
        return 0;
    *n = record_head_value(bytes + at);
    return *n <= size - at - head ? at + head : 0;
}

static void write_hash(uint8_t *to, XXH3_state_t *state)
{
    XXH64_canonicalFromHash((XXH64_canonical_t *)to, XXH3_64bits_digest(state));
}

/* Position after `key` in the map; NULL. */
static uint8_t *find_key(uint8_t *map, size_t n, const char *key)
{
    uint8_t *found = memmem(map, n, key, strlen(key));
    return found ? found + strlen(key) : NULL;
}

static void write_hashes(uint8_t *bytes, size_t size)
{
    XXH3_state_t *stream = XXH3_createState(), *tensor = XXH3_createState();
    bool is_bin, ended = false;
    size_t at = MAGIC_SIZE, from, n;
    XXH3_64bits_reset(stream);
    XXH3_64bits_reset(tensor);
    XXH3_64bits_update(stream, bytes, MAGIC_SIZE);
    for (; (from = find_contents(bytes, size, at, &is_bin, &n)); at = from + n) {
        uint8_t *map = bytes + from, *sum;
        if (ended && is_bin && n == 8)
            write_hash(map, stream);
        if (!is_bin && find_key(map, n, "\xa6record\xa6tensor"))
            XXH3_64bits_reset(tensor);
        sum = is_bin ? NULL
                     : find_key(map, n,
                                "\xa8"
                                "checksum\xc4\x08");
        if (sum && sum + 8 <= map + n)
            write_hash(sum, tensor);
        ended |= !is_bin && find_key(map, n,
                                     "\xa6record\xa3"
                                     "end");
        XXH3_64bits_update(tensor, map, n);
        XXH3_64bits_update(stream, bytes + at, from - at + (is_bin ? 0 : n));
    }
    XXH3_freeState(stream);
    XXH3_freeState(tensor);
}

/* Replaces the object's head by one of five bytes for its new length. */
static void write_head(uint8_t *bytes, size_t *size, size_t at, size_t from, bool is_bin, size_t n)
{
    uint8_t head[5] = {is_bin ? 0xc6 : 0xce, n >> 24, n >> 16, n >> 8, n};
    memmove(bytes + at + 5, bytes + from, *size - from);
    memcpy(bytes + at, head, 5);
    *size = *size - from + at + 5;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed)
{
    size_t at = MAGIC_SIZE, from, n, chosen = seed / 8 % 32;
    bool is_bin;
    if (seed % 8 == 0 || size < MAGIC_SIZE || max < size + 5)
        return LLVMFuzzerMutate(bytes, size, max);
    while ((from = find_contents(bytes, size, at, &is_bin, &n)) && chosen--)
        at = from + n < size ? from + n : MAGIC_SIZE;
    if (from) {
        n = fuzz_mutate_part(bytes, &size, max - 5, from, n);
        write_head(bytes, &size, at, from, is_bin, n);
    }
    write_hashes(bytes, size);
    return size;
}
