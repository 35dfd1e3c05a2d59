#include "predicted_output.h"

#include "layer_slice.h"
#include "lora_output.h"
#include "name_index.h"
#include "pipeline_output_header.h"
#include "stage.h"

#include <stdlib.h>
#include <string.h>

/* The tensors of a pipeline. Slices may yield the same name several times. */
struct output_list {
    const struct translated_config *merge;
    const struct pipeline_options *run;
    enum dtype out_dtype; /* of floating tensors; DTYPE_NONE: not configured */
    size_t n, capacity;
    struct predicted_tensor *tensors;
    struct arena *a;
    struct error *e;
};

static void add_output_tensor(struct output_list *l, const char *name, enum dtype dtype,
                              size_t rank, const uint64_t *shape)
{
    if (dtype_is_float(dtype) && l->out_dtype != DTYPE_NONE)
        dtype = l->out_dtype;
    l->tensors = arena_grow(l->a, l->tensors, l->n, &l->capacity, sizeof *l->tensors);
    l->tensors[l->n++] = (struct predicted_tensor){arena_copy_text(l->a, name), dtype, rank,
                                                   arena_copy(l->a, shape, rank * sizeof *shape)};
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
                              t->rank, t->shape);
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
                              merged ? merged->rank : t->rank, merged ? merged->shape : t->shape);
    }
    add_heads_that_base_lacks(l, h, model);
    model_source_close(model);
    return 0;
}

static const struct tensor_rules *find_rules(const struct stage *s, const char *option)
{
    struct stage_option options[STAGE_OPTIONS_MAX];
    size_t n = stage_list_options(s, options), i = 0;
    while (i + 1 < n && strcmp(options[i].row->name, option) != 0)
        i++;
    return options[i].field;
}

/* The adapter that pack --lora writes, with the highest ranks. */
static int add_tensors_of_adapter(struct output_list *l, struct header *h, const char *base,
                                  struct stage *pack)
{
    const struct lora_output_options options = {.rank = *find_rules(pack, "lora"),
                                                .dtype = l->out_dtype};
    pack->in = h;
    struct base_model *model = base_model_open(pack, base, false, NULL, h, l->e);
    struct lora_output *adapter = model ? lora_output_new(h, model, &options, l->e) : NULL;
    size_t n = 0;
    struct tensor *tensors = adapter ? lora_output_largest_tensors(adapter, &n, l->a) : NULL;
    for (size_t i = 0; i < n; i++)
        add_output_tensor(l, tensors[i].name, tensors[i].vectors[0].dtype, tensors[i].rank,
                          tensors[i].shape);
    lora_output_free(adapter);
    base_model_close(model);
    return adapter ? 0 : -1;
}

static int add_tensors_of_pack(struct output_list *l, struct header *h, const char *base,
                               const struct pipeline_command *c)
{
    struct arena a = {0};
    struct stage *pack = pipeline_output_header_parse(l->merge, l->run, c, &a);
    int failed = stage_is_given(pack, "lora")
                     ? add_tensors_of_adapter(l, h, base, pack)
                     : add_tensors_packed_onto_base(l, h, base,
                                                    find_word_in_command(c, "--no-fill") == c->n);
    stage_free(pack);
    arena_free(&a);
    return failed;
}

static void add_stream_tensors(struct output_list *l, const struct header *h)
{
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct tensor *t = &h->tensors[i];
        enum dtype dtype = dtype_is_float(t->vectors[0].stored_dtype) ? t->vectors[0].stored_dtype
                                                                      : t->vectors[0].dtype;
        if (h->input_rounding != DTYPE_NONE && dtype_is_float(dtype))
            dtype = h->input_rounding;
        add_output_tensor(l, t->name, dtype, t->rank, t->shape);
    }
}

/* A pipeline whose header is available. */
static int add_output_of_pipeline(struct output_list *l, const struct pipeline *p)
{
    const struct pipeline_command *last = &p->commands[p->n - 1];
    const char *base = is_pack_command(last) ? find_option_value(last, "--base") : NULL;
    struct header *h =
        pipeline_output_header_read(l->merge, l->run, p, p->n - is_pack_command(last), l->e);
    int failed = h ? 0 : -1;
    if (h && base)
        failed = add_tensors_of_pack(l, h, base, last);
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

/* The output of stack is that of its operands. */
static int add_output_or_operands_of_pipeline(struct output_list *l, const struct pipeline *p)
{
    return pipeline_output_header_is_available(l->merge, p) ? add_output_of_pipeline(l, p)
                                                            : add_outputs_of_substitutions(l, p);
}

/* ---- the list -------------------------------------------------------------------------------- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct predicted_tensor *)a)->name,
                  ((const struct predicted_tensor *)b)->name);
}

static uint64_t count_bytes(const struct predicted_tensor *t)
{
    uint64_t elements = 1;
    for (size_t i = 0; i < t->rank; i++)
        elements *= t->shape[i];
    return dtype_bytes(t->dtype, elements);
}

/* Each name counts once. */
static void sort_and_sum_distinct_tensors(struct output_list *l, struct predicted_output *o)
{
    if (l->n)
        qsort(l->tensors, l->n, sizeof *l->tensors, compare_names);
    *o = (struct predicted_output){.tensors = l->tensors};
    for (size_t i = 0; i < l->n; i++) {
        if (o->n && strcmp(l->tensors[i].name, o->tensors[o->n - 1].name) == 0)
            continue;
        o->tensors[o->n++] = l->tensors[i];
        o->bytes += count_bytes(&l->tensors[i]);
    }
}

int predicted_output_compute(struct predicted_output *o, const struct translated_config *m,
                             const struct pipeline *p, enum dtype out_dtype,
                             const struct pipeline_options *run, struct arena *a, struct error *e)
{
    struct output_list l = {.merge = m, .run = run, .out_dtype = out_dtype, .a = a, .e = e};
    if (add_output_or_operands_of_pipeline(&l, p))
        return -1;
    sort_and_sum_distinct_tensors(&l, o);
    return 0;
}
