/* Formats of weight files and archives, recognized by their first bytes. */
#ifndef TV_FILE_FORMAT_H
#define TV_FILE_FORMAT_H

#include "error.h"

#include <stddef.h>

enum file_format {
    FILE_FORMAT_UNKNOWN,
    FILE_FORMAT_STREAM, /* a saved stream */
    FILE_FORMAT_SAFETENSORS,
    FILE_FORMAT_TORCH_LEGACY, /* torch.save before torch 1.6 */
    FILE_FORMAT_ZIP,          /* a torch file or an archive */
    FILE_FORMAT_GGUF,
    FILE_FORMAT_ARCHIVE,     /* tar */
    FILE_FORMAT_COMPRESSED,  /* with gzip, zstd or xz: an archive, a weight file or a stream */
    FILE_FORMAT_LFS_POINTER, /* the placeholder of a file that Git LFS has not fetched */
    FILE_FORMAT_FOREIGN      /* not supported (foreign_format.h) */
};

enum file_format file_format_detect(const unsigned char *bytes, size_t n);
/* An error if these are the first bytes of `file` and it is in a format that is not supported, or a
 * Git LFS pointer. */
int file_format_check(const char *file, const unsigned char *bytes, size_t n, struct error *e);
/* From the first 512 bytes of an open regular file. -1, with the reason in errno, if they cannot be
 * read. */
int file_format_detect_fd(int fd, enum file_format *format);

#endif
