/* Finds the state dict, a dict of named tensors, in the contents of a torch file: the whole, or a
 * value of a training checkpoint, such as {"epoch": 3, "model": {"state_dict": {...}}}. It belongs
 * to the unpickled value. */
#ifndef TV_STATE_DICT_H
#define TV_STATE_DICT_H

#include "pickle_value.h"
#include "stored_tensors.h"

/* The dict under s->key, such as "model.state_dict"; "" is the whole. At each level the longest key
 * that matches counts, because keys may contain dots. Items of lists and tuples have their indexes
 * as keys. If s->key is NULL, the only dict with named floating-point tensors that is not part of
 * an optimizer's state: several are an error that lists them. Sets s->key, in the arena of `s`, and
 * notes a key that was not given. The values become `visited`. NULL on error. */
const struct pickle_value *state_dict_find(struct stored_tensors *s, struct pickle_value *whole,
                                           struct error *e);

/* A value in words: "a number", "an object made by argparse.Namespace". */
const char *state_dict_describe(const struct pickle_value *v, char *to, size_t size);

#endif
