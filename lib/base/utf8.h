/* UTF-8, as RFC 3629 has it: no overlong forms, no surrogates, and here no NUL. */
#ifndef TV_UTF8_H
#define TV_UTF8_H

#include <stddef.h>

/* Bytes of the valid characters at the start of text[0..n): n if all are. */
size_t utf8_valid_prefix(const char *text, size_t n);

#endif
