/* tv extract-lora: a fine-tuned model as a LoRA adapter of its base, with the options of
 * mergekit-extract-lora. It is the pipeline tv-extract BASE EXPERT | pack --lora. */
#ifndef TV_TV_EXTRACT_LORA_H
#define TV_TV_EXTRACT_LORA_H

#include "filter.h"

/* Runs the command with the words of argv; `filters` are ours, ended by NULL. Returns the exit
 * status. */
int tv_extract_lora_main(int argc, char **argv, const struct filter *const *filters);

#endif
