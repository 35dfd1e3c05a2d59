/* Reads the architecture of a model from config.json, in the layouts of transformers 4 and 5 and of
 * InternVL's own models. Unsupported architectures, activations and RoPE scalings are errors that
 * name them. */
#ifndef TV_ARCH_CONFIG_H
#define TV_ARCH_CONFIG_H

#include "arch.h"
#include "error.h"

/* `text`: the `size` bytes of config.json; `file`: its name in errors. *duplicates: the text has
 * duplicate keys, of which the last one wins, as in Python. After an error there is nothing to
 * free. */
int arch_config_read(struct arch *a, const char *file, const char *text, size_t size,
                     bool *duplicates, struct error *e);

#endif
