#include "predicted_output_size.h"

#include "layer_slice.h"
#include "name_index.h"
#include "pipeline_output_header.h"

#include <stdlib.h>
#include <string.h>

/* A tensor of the result. Slices may yield the same name several times. */
struct output_tensor {
    const char *name;
    uint64_t bytes;
};

struct output_list {
    const struct pipeline_options *run;
    enum dtype out_dtype; /* of floating tensors; DTYPE_NONE: not configured */
    size_t n;
    struct output_tensor *tensors;
    bool incomplete;
    struct arena *a; /* of the names */
    struct error *e;
};

static void add_output_tensor(struct output_list *l, const char *name, enum dtype dtype,
                              uint64_t elements)
{
    if (dtype_is_float(dtype) && l->out_dtype != DTYPE_NONE)
        dtype = l->out_dtype;
    l->tensors = mem_grow(l->tensors, l->n, sizeof *l->tensors);
    l->tensors[l->n++] =
        (struct output_tensor){arena_copy_text(l->a, name), dtype_bytes(dtype, elements)};
}

/* ---- the pack command ------------------------------------------------------------------------ */

static bool is_pack_command(const struct pipeline_command *c)
{
    return strcmp(c->words[0].text, "pack") == 0;
}

/* The position of a word, c->n if there is none. */
static size_t find_word_in_command(const struct pipeline_command *c, const char *text)
{
    size_t i = 1;
    while (i < c->n && (!c->words[i].text || strcmp(c->words[i].text, text) != 0))
        i++;
    return i;
}

/* The value of an option in the word after it; NULL. */
static const char *find_option_value(const struct pipeline_command *c, const char *option)
{
    size_t i = find_word_in_command(c, option);
    return i + 1 < c->n ? c->words[i + 1].text : NULL;
}

/* ---- pipelines ------------------------------------------------------------------------------- */

/* Indexes the stream's tensors by the tensors of the base whose places they take. */
static struct name_index index_by_base_name(const struct header *h, struct arena *a)
{
    struct name_index index = {0};
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct tensor *t = &h->tensors[i];
        name_index_add(&index, t->base_name ? t->base_name : t->name, i, a);
    }
    return index;
}

/* Heads that the base does not have: its embedding stands in. */
static void add_heads_that_base_lacks(struct output_list *l, const struct header *h,
                                      const struct model_source *base)
{
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct tensor *t = &h->tensors[i];
        if (model_source_find_tensor(base, t->base_name ? t->base_name : t->name) < 0)
            add_output_tensor(l, t->name,
                              h->input_rounding != DTYPE_NONE ? h->input_rounding
                                                              : t->vectors[0].stored_dtype,
                              tensor_elements(t));
    }
}

/* What pack --base writes: the tensors of the base, or (`fill_block` false) those that the stream
 * has. */
static int add_tensors_packed_onto_base(struct output_list *l, const struct header *h,
                                        const char *base, bool fill)
{
    struct layer_slice_options whole = {.first_layer = -1};
    struct model_source *model =
        layer_slice_open(base, &whole, l->run->spool, PIPELINE_HEADER_TOOL, l->e);
    if (!model)
        return -1;
    const struct name_index index = index_by_base_name(h, l->a);
    for (size_t i = 0; i < model_source_tensor_count(model); i++) {
        const struct ckpt_tensor *t = model_source_tensor(model, i);
        long found = name_index_find(&index, t->name);
        const struct tensor *merged = found < 0 ? NULL : &h->tensors[found];
        bool rounded = h->input_rounding != DTYPE_NONE && dtype_is_float(t->dtype);
        if (merged || fill)
            add_output_tensor(l, merged ? merged->name : t->name,
                              rounded ? h->input_rounding : t->file_dtype,
                              merged ? tensor_elements(merged) : t->elements);
    }
    add_heads_that_base_lacks(l, h, model);
    model_source_close(model);
    return 0;
}

static void add_stream_tensors(struct output_list *l, const struct header *h)
{
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct tensor *t = &h->tensors[i];
        enum dtype dtype = dtype_is_float(t->vectors[0].stored_dtype) ? t->vectors[0].stored_dtype
                                                                      : t->vectors[0].dtype;
        if (h->input_rounding != DTYPE_NONE && dtype_is_float(dtype))
            dtype = h->input_rounding;
        add_output_tensor(l, t->name, dtype, tensor_elements(t));
    }
}

/* A pipeline whose header is available. */
static int add_output_of_pipeline(struct output_list *l, const struct pipeline *p)
{
    const struct pipeline_command *last = &p->commands[p->n - 1];
    const char *base = is_pack_command(last) ? find_option_value(last, "--base") : NULL;
    struct header *h = pipeline_output_header_read(l->run, p, p->n - is_pack_command(last), l->e);
    int failed = h ? 0 : -1;
    if (h && base)
        failed = add_tensors_packed_onto_base(l, h, base,
                                              find_word_in_command(last, "--no-fill") == last->n);
    else if (h)
        add_stream_tensors(l, h);
    header_free(h);
    return failed;
}

static int add_output_or_operands_of_pipeline(struct output_list *l, const struct pipeline *p);

static int add_outputs_of_substitutions(struct output_list *l, const struct pipeline *p)
{
    for (size_t i = 0; i < p->n; i++)
        for (size_t j = 0; j < p->commands[i].n; j++) {
            const struct pipeline *inner = p->commands[i].words[j].substitution;
            if (inner && add_output_or_operands_of_pipeline(l, inner))
                return -1;
        }
    return 0;
}

/* The output of stack is that of its operands; what other filters make of them is not known. */
static int add_output_or_operands_of_pipeline(struct output_list *l, const struct pipeline *p)
{
    if (pipeline_output_header_is_available(p))
        return add_output_of_pipeline(l, p);
    l->incomplete |= strcmp(p->commands[0].words[0].text, "stack") != 0;
    return add_outputs_of_substitutions(l, p);
}

/* ---- the sum --------------------------------------------------------------------------------- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct output_tensor *)a)->name, ((const struct output_tensor *)b)->name);
}

/* Each name counts once. */
static void sum_distinct_tensors(struct output_list *l, struct predicted_output_size *size)
{
    if (l->n)
        qsort(l->tensors, l->n, sizeof *l->tensors, compare_names);
    for (size_t i = 0; i < l->n; i++) {
        if (i && strcmp(l->tensors[i].name, l->tensors[i - 1].name) == 0)
            continue;
        size->tensors++;
        size->bytes += l->tensors[i].bytes;
    }
}

int predicted_output_size_compute(struct predicted_output_size *size,
                                  const struct translated_config *m,
                                  const struct pipeline_options *run, struct arena *a,
                                  struct error *e)
{
    struct output_list l = {.run = run, .out_dtype = m->config->out_dtype, .a = a, .e = e};
    int failed = add_output_or_operands_of_pipeline(&l, &m->pipeline);
    *size = (struct predicted_output_size){.incomplete = l.incomplete};
    if (!failed)
        sum_distinct_tensors(&l, size);
    free(l.tensors);
    return failed;
}
