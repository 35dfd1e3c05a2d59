#include "operand_source.h"

#include "model_source.h"
#include "stdio_stages.h"
#include "tensor_name.h"

#include <string.h>

static int open_model(struct stage *s, struct header *h, struct error *e)
{
    struct model_source *m = model_source_open(s->operands.items[0], s->common.spool, s->name, e);
    s->data = m;
    if (!m || model_source_fill_header(m, h, e) < 0)
        return -1;
    model_source_set_identity(m, h, 0);
    tensor_name_set_layer_numbers(h);
    return 0;
}

static int read_block_from_model(const struct job *job, struct block *b, struct error *e)
{
    const struct model_source *m = job->stage->data;
    model_source_read_stored(m, job->index, b->first, b->n, b->data[0]);
    model_source_release_pages(m, job->index, b->first, b->n);
    return 0;
}

static int close_model(struct stage *s, bool ok, struct error *e)
{
    int failed = ok ? model_source_check_unchanged(s->data, e) : 0;
    model_source_close(s->data);
    return failed;
}

static const struct filter model_reader = {
    .name = "reader",
    .role = ROLE_SOURCE,
    .max_operands = 1,
    .raw_payload = true,
    .operands_are_files = true,
    .open = open_model,
    .source.fill_block = read_block_from_model,
    .close = close_model,
};

const struct filter *operand_source_choose_filter(const char *operand, struct error *e)
{
    int is_checkpoint = strcmp(operand, "-") == 0
                            ? 0
                            : ckpt_is_checkpoint(model_source_strip_name_from_operand(operand), e);
    return is_checkpoint < 0 ? NULL : is_checkpoint ? &model_reader : &stdio_stages_reader;
}
