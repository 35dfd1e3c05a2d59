/* Validating UTF-8 (RFC 3629: no overlong forms, no surrogates); NUL is invalid here too. */
#ifndef TV_UTF8_H
#define TV_UTF8_H

#include <stddef.h>

/* Number of bytes of text[0..n) before the first invalid character; n if all are valid. */
size_t utf8_valid_prefix_length(const char *text, size_t n);

#endif
