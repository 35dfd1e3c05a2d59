#include "file_format.h"

#include "byte_input.h"

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

/* Eight bytes of header length, then JSON. */
static bool may_be_safetensors(const unsigned char *bytes, size_t n)
{
    return n > 8 && bytes[8] && strchr("{ \t\r\n", bytes[8]);
}

enum file_format file_format_detect(const unsigned char *bytes, size_t n)
{
    if (starts_with(bytes, n, "\xa4TVS1", 5)) /* a stream */
        return FILE_FORMAT_UNKNOWN;
    if (starts_with(bytes, n, "PK\3\4", 4) || starts_with(bytes, n, "PK\5\6", 4))
        return FILE_FORMAT_ZIP;
    if (byte_input_is_compressed(bytes, n))
        return FILE_FORMAT_COMPRESSED;
    if (is_tar(bytes, n))
        return FILE_FORMAT_ARCHIVE;
    if (starts_with(bytes, n, "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46", 8))
        return FILE_FORMAT_TORCH_LEGACY;
    if (starts_with(bytes, n, "GGUF", 4))
        return FILE_FORMAT_GGUF;
    if (starts_with(bytes, n, "version https://git-lfs", 23))
        return FILE_FORMAT_LFS_POINTER;
    return may_be_safetensors(bytes, n) ? FILE_FORMAT_SAFETENSORS : FILE_FORMAT_UNKNOWN;
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
