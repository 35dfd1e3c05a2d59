#include "file_format.h"

#include "byte_input.h"
#include "foreign_format.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

static bool starts_with(const unsigned char *bytes, size_t n, const char *magic, size_t length)
{
    return n >= length && memcmp(bytes, magic, length) == 0;
}

static bool is_tar(const unsigned char *bytes, size_t n)
{
    return n > 262 && memcmp(bytes + 257, "ustar", 5) == 0;
}

/* The magic number of torch.save before torch 1.6, 0x1950a86a20f9469cfc6c, as a pickle: PROTO 2 to
 * 5, from 4 on a FRAME, then LONG1. */
static bool is_legacy_torch_file(const unsigned char *bytes, size_t n)
{
    static const char magic[] = "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
    size_t frame = n > 2 && bytes[2] == 0x95 ? 9 : 0;
    return n > 2 + frame && bytes[0] == 0x80 && bytes[1] >= 2 && bytes[1] <= 5 &&
           starts_with(bytes + 2 + frame, n - 2 - frame, magic, sizeof magic - 1);
}

static bool is_ascii_text(unsigned char c)
{
    return (c >= ' ' && c < 127) || c == '\t' || c == '\n' || c == '\r';
}

/* Eight bytes of header length, the highest last, then JSON. */
static bool may_be_safetensors(const unsigned char *bytes, size_t n)
{
    return n > 8 && !is_ascii_text(bytes[7]) && bytes[8] && strchr("{ \t\r\n", bytes[8]);
}

enum file_format file_format_detect(const unsigned char *bytes, size_t n)
{
    if (starts_with(bytes, n, "\xa4TVS1", 5))
        return FILE_FORMAT_STREAM;
    if (starts_with(bytes, n, "PK\3\4", 4) || starts_with(bytes, n, "PK\5\6", 4))
        return FILE_FORMAT_ZIP;
    if (byte_input_is_compressed(bytes, n))
        return FILE_FORMAT_COMPRESSED;
    if (is_tar(bytes, n))
        return FILE_FORMAT_ARCHIVE;
    if (is_legacy_torch_file(bytes, n))
        return FILE_FORMAT_TORCH_LEGACY;
    if (starts_with(bytes, n, "GGUF", 4))
        return FILE_FORMAT_GGUF;
    if (starts_with(bytes, n, "version https://git-lfs", 23))
        return FILE_FORMAT_LFS_POINTER;
    if (foreign_format_detect(bytes, n))
        return FILE_FORMAT_FOREIGN;
    return may_be_safetensors(bytes, n) ? FILE_FORMAT_SAFETENSORS : FILE_FORMAT_UNKNOWN;
}

int file_format_check(const char *file, const unsigned char *bytes, size_t n, struct error *e)
{
    enum file_format format = file_format_detect(bytes, n);
    if (format == FILE_FORMAT_LFS_POINTER)
        return error_set(e, "%s is a Git LFS pointer, not the file itself; run git lfs pull", file);
    if (format == FILE_FORMAT_FOREIGN)
        return foreign_format_set_error(file, foreign_format_detect(bytes, n), e);
    return 0;
}

int file_format_detect_fd(int fd, enum file_format *format)
{
    unsigned char bytes[512];
    size_t size = 0;
    ssize_t n;
    while ((n = pread(fd, bytes + size, sizeof bytes - size, (off_t)size)) != 0) {
        if (n < 0 && errno != EINTR)
            return -1;
        size += n > 0 ? (size_t)n : 0;
    }
    *format = file_format_detect(bytes, size);
    return 0;
}
