/* unpack: read checkpoints into a stream of weights, one vector per model
 *
 *     unpack math code | combine --normalize=all | pack --like math merged/
 *
 * The tensors are those of the first model, sorted bytewise by name, in their stored dtypes.
 * --dtype rounds every input on reading, as mergekit's `dtype` does.
 */
#include "filter.h"
#include "model_set.h"

struct options {
    struct model_set_options models;
};

static const struct option_row rows[] = {MODEL_SET_OPTION_ROWS(options, models), {0}};

static int check_options(const struct stage *s, struct error *e)
{
    const struct options *o = s->options;
    return model_set_check_options(s, &o->models, e);
}

static int open_unpack(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    s->data = model_set_open(s, &o->models, false, h, e);
    return s->data ? 0 : -1;
}

static int fill_block(const struct job *job, struct block *b, struct error *e)
{
    struct model_set *m = job->stage->data;
    bool in_any_order = !model_set_is_one_pass(job->stage);
    for (size_t k = 0; k < b->n_vectors; k++) {
        const void *mapped = in_any_order ? model_set_map_block(m, job->index, k, b) : NULL;
        if (mapped)
            b->data[k] = (void *)mapped;
        else if (model_set_read_block(m, job->index, k, b, b->data[k], e))
            return -1;
    }
    return 0;
}

static int end_tensor(struct job *job, bool ok, struct error *e)
{
    model_set_end_tensor(job->stage->data, job->index, ok, job->stage);
    return 0;
}

static int close_unpack(struct stage *s, bool ok, struct error *e)
{
    int failed = ok ? model_set_report_hashes(s->data, s, e) : 0;
    model_set_close(s->data);
    return failed;
}

const struct filter filter_unpack = {
    .name = "unpack",
    .summary = "Read checkpoints into a stream of weights",
    .step = STEP_READ,
    .operands = "MODEL...",
    .notes =
        "A MODEL is a folder, a .safetensors or .bin file, a tar or zip of a folder, the name of a "
        "model in the local Hugging Face cache, or a saved stream; - is a model on standard input; "
        "name=MODEL renames it.\n\n"
        "  unpack math code | combine --normalize=all | pack --like math merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .min_operands = 1,
    .max_operands = SIZE_MAX,
    .role = ROLE_SOURCE,
    .operands_are_files = true,
    .check_options = check_options,
    .open = open_unpack,
    .source.hash_block = model_set_hash_block,
    .source.fill_block = fill_block,
    .source.rewind = model_set_rewind,
    .source.is_one_pass = model_set_is_one_pass,
    .end_tensor = end_tensor,
    .close = close_unpack,
};
