/* Samples for calibration and evaluation: token sequences by task, from JSON Lines (one object per
 * line; blank lines are skipped):
 *
 *     {"task": "rev", "input_ids": [256, 114, ..., 257], "prompt_len": 11, "response": "rhcep"}
 *
 * Only input_ids is required. The default task is the file's name (rev.jsonl: rev). prompt_len is
 * the number of ids before the response. Samples with images are a folder with samples.jsonl and
 * tensors.safetensors, whose tensors are the pixel values; the default task is the folder's name:
 *
 *     "image_token_id": 250, "images": [{"pixel_values": "b", "grid_thw": [1, 4, 4], "tokens": 4}]
 *
 * pixel_values names the tensor, grid_thw (Qwen2-VL) counts its patches in time, height and width,
 * and tokens counts the ids of the image. Other keys are ignored. A struct samples owns everything
 * it points to until samples_free. */
#ifndef TV_SAMPLES_H
#define TV_SAMPLES_H

#include "name_index.h"
#include "sample.h"
#include "token_batch.h"

struct samples {
    size_t n;
    struct sample *samples; /* in the order of files and lines */
    size_t n_tasks;
    const char **tasks; /* in the order of their first samples */
    size_t task_capacity;
    struct name_index task_index;
    struct image_list images;
    size_t n_files;
    struct model_source **files; /* with the pixel values of images */
    size_t room;                 /* of `samples` */
    uint64_t hash; /* of the last file read: its XXH3-64, combined with the images' fingerprint */
    struct arena arena;
};

/* What a model requires of samples. */
struct sample_requirements {
    const struct arch *arch; /* samples must fit its vocabulary, maximum length and images */
    bool prompt_required;    /* prompt_len is required, and the response is not empty */
};

/* The default task of a file's or folder's samples: rev for any/rev.jsonl and any/rev/. */
const char *samples_default_task(const char *file, struct arena *a);
/* Adds the samples of a file ("-": standard input) or folder to `s`, which starts zeroed. An error
 * names the line. */
int samples_read(struct samples *s, const char *file, const struct sample_requirements *required,
                 struct error *e);
/* Adds one sample from token ids as text, "1,17,4". An error names the text. */
int samples_add_token_ids(struct samples *s, const char *text,
                          const struct sample_requirements *required, struct error *e);
void samples_free(struct samples *s);

/* A batch of all samples. */
void samples_build_batch(const struct samples *s, const struct arch *a, struct token_batch *b);

static inline struct sequence samples_sequence(const struct samples *s, size_t i)
{
    const struct sample *x = &s->samples[i];
    return (struct sequence){x->ids, x->n, x->images, s->images.images};
}

#endif
