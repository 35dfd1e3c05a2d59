/* Samples: token sequences of tasks, JSON Lines (an object a line, blank lines mean nothing):
 *
 *     {"task": "rev", "input_ids": [256, 114, ..., 257], "prompt_len": 11, "response": "rhcep"}
 *
 * Only input_ids is required. A sample without a task belongs to the task that the file is named
 * after (rev.jsonl: rev). prompt_len counts the ids before the response. A container is a folder of
 * such a file, samples.jsonl, and of tensors.safetensors, the pixels of its samples' images;
 * samples without a task belong to the task that the folder is named after:
 *
 *     "image_token_id": 250, "images": [{"pixel_values": "b", "grid_thw": [1, 4, 4], "tokens": 4}]
 *
 * the tensor, the patches of time, height and width where it does not tell them, and how many ids
 * are the image's. Other keys mean nothing here. A samples owns what it points to until
 * samples_free. */
#ifndef TV_SAMPLES_H
#define TV_SAMPLES_H

#include "token_batch.h"
#include "sample.h"

struct samples {
    size_t n;
    struct sample *samples; /* in the order of files and lines */
    size_t n_tasks;
    const char **tasks; /* in the order in which they first come */
    struct image_list images;
    size_t n_files;
    struct model_source **files; /* of the pictures */
    size_t room;
    uint64_t hash; /* of what was read last: XXH3-64 of a file, with a container's fingerprint */
    struct arena arena;
};

/* What a model takes. */
struct sample_requirements {
    const struct arch *arch; /* whose vocabulary, positions and images they fit */
    bool prompt_required;    /* prompt_len is required, with a response behind it */
};

/* The task of a file's or container's samples that say none: rev.jsonl in any folder is rev, and so
 * is a container rev/. */
const char *samples_default_task(const char *file, struct arena *a);
/* Adds the samples of a file ("-": standard input) or container to `s`, which starts zeroed. An
 * error names the line. */
int samples_read(struct samples *s, const char *file, const struct sample_requirements *limits,
                 struct error *e);
void samples_free(struct samples *s);

static inline struct sequence samples_sequence(const struct samples *s, size_t i)
{
    const struct sample *x = &s->samples[i];
    return (struct sequence){x->ids, x->n, x->images, s->images.images};
}

#endif
