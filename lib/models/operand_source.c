#include "operand_source.h"

#include "model_source.h"
#include "stdio_stages.h"
#include "tensor_name.h"

#include <string.h>

/* A model as a source of its own weights. */

static int open_one(struct stage *s, struct header *h, struct error *e)
{
    struct model_source *in = model_source_open(s->operands.items[0], s->common.spool, s->name, e);
    s->data = in;
    if (!in || header_add_model(h, model_source_name(in), NULL, e) < 0)
        return -1;
    h->kind = KIND_WEIGHTS;
    h->models[0].has_fingerprint = true;
    h->models[0].fingerprint = model_source_fingerprint(in);
    h->n_tensors = model_source_tensor_count(in);
    h->tensors = arena_alloc(&h->arena, h->n_tensors, sizeof *h->tensors);
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct ckpt_tensor *from = model_source_tensor(in, i);
        struct vector *v = arena_alloc(&h->arena, 1, sizeof *v);
        *v = vector_with_defaults(0, from->name, from->dtype, from->dtype);
        struct tensor t = {.name = from->name,
                           .rank = from->rank,
                           .shape = from->shape,
                           .n_vectors = 1,
                           .vectors = v,
                           .input_index = i};
        h->tensors[i] = tensor_copy(&h->arena, &t);
    }
    tensor_name_set_layer_numbers(h);
    return 0;
}

static int fill_one(const struct job *job, struct block *b, struct error *e)
{
    const struct model_source *in = job->stage->data;
    model_source_read_stored(in, job->index, b->first, b->n, b->data[0]);
    model_source_release_pages(in, job->index, b->first, b->n);
    return 0;
}

static int close_one(struct stage *s, bool ok, struct error *e)
{
    model_source_close(s->data);
    return 0;
}

static const struct filter model_source = {
    .name = "reader",
    .role = ROLE_SOURCE,
    .max_operands = 1,
    .raw_payload = true,
    .operands_are_files = true,
    .open = open_one,
    .source.fill = fill_one,
    .close = close_one,
};

const struct filter *operand_source_filter(const char *operand, struct error *e)
{
    int is_checkpoint = strcmp(operand, "-") == 0
                            ? 0
                            : ckpt_is_checkpoint(model_source_path_of_operand(operand), e);
    return is_checkpoint < 0 ? NULL : is_checkpoint ? &model_source : &stdio_stages_reader;
}
