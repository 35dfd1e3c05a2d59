/* An archive of a model, unpacked: every other size from a file, the others, if they are tars, as
 * from a pipe. The mutator keeps the checksums of tar's headers right, and those of a zip's
 * records. */
#include "fuzz.h"
#include "file_format.h"
#include "unarchive.h"

static void unarchive_file(struct model_files *f, const uint8_t *bytes, size_t size)
{
    struct error e;
    const struct unarchive_input input = {.path = fuzz_descriptor_path(bytes, size), .fd = -1};
    unarchive_model(f, &input, "/dev/shm", NULL, &e);
}

static void unarchive_pipe(struct model_files *f, const uint8_t *bytes, size_t size)
{
    struct error e;
    size_t n;
    struct unarchive_input input = {.path = "input", .fd = -1};
    input.in = byte_input_open(fuzz_descriptor(bytes, size), "input", NULL, 0, &e);
    if (!input.in)
        return;
    const unsigned char *first = byte_input_peek(input.in, &n);
    if (file_format_detect(first, n) == FILE_FORMAT_ARCHIVE)
        unarchive_model(f, &input, "/dev/shm", NULL, &e);
    byte_input_close(input.in);
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct model_files f = {0};
    fuzz_fixed_memory = FUZZ_LARGE_MEMORY;
    if (size % 2)
        unarchive_pipe(&f, bytes, size);
    else
        unarchive_file(&f, bytes, size);
    model_files_free(&f);
}

static void write_tar_checksums(uint8_t *bytes, size_t size)
{
    for (size_t at = 0; at + 512 <= size; at += 512) {
        unsigned sum = 0;
        if (memcmp(bytes + at + 257, "ustar", 5) != 0)
            continue;
        memset(bytes + at + 148, ' ', 8);
        for (size_t i = 0; i < 512; i++)
            sum += bytes[at + i];
        snprintf((char *)bytes + at + 148, 7, "%06o", sum);
    }
}

/* CRC-32 of PKZIP, bit by bit */
static uint32_t crc32_of(const uint8_t *bytes, size_t size)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

/* Local header: signature 4, version 2, flags 2, method 2, time 4, CRC 4, packed size 4, size 4,
 * length of the name 2 and of the extra field 2. */
static void write_zip_checksums(uint8_t *bytes, size_t size)
{
    for (size_t at = 0; at + 30 <= size; at++) {
        uint32_t packed;
        uint16_t name, extra;
        if (memcmp(bytes + at, "PK\3\4", 4) != 0)
            continue;
        memcpy(&packed, bytes + at + 18, 4);
        memcpy(&name, bytes + at + 26, 2);
        memcpy(&extra, bytes + at + 28, 2);
        size_t data = at + 30 + name + extra;
        if (data <= size && packed <= size - data) {
            uint32_t crc = crc32_of(bytes + data, packed);
            memcpy(bytes + at + 14, &crc, 4);
        }
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed)
{
    size = LLVMFuzzerMutate(bytes, size, max);
    if (seed % 8) {
        write_tar_checksums(bytes, size);
        write_zip_checksums(bytes, size);
    }
    return size;
}
