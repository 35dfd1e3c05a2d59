/* zero-bias: make biases of zeros for matrices without one
 *
 *     W.weight (m, n)  ->  W.bias = 0 (m)
 *
 *     stack --disjoint <(unpack llama) <(zero-bias llama '*.q_proj' '*.k_proj' '*.v_proj') | ...
 *
 * for each matrix of MODEL whose name without ".weight" matches a GLOB. Some architectures require
 * biases that others do not have: Qwen2's attention has them, Llama's has none. Adding zeros
 * changes no output. A matrix that has a bias is an error.
 */
#include "filter.h"
#include "glob_pattern.h"
#include "model_source.h"
#include "stage.h"

#include <string.h>

/* "a.q_proj" of "a.q_proj.weight", in the arena; NULL if the name ends differently. */
static const char *name_without_weight(const char *name, struct arena *a)
{
    size_t n = strlen(name), end = strlen(".weight");
    if (n <= end || strcmp(name + n - end, ".weight") != 0)
        return NULL;
    return arena_copy_text_n(a, name, n - end);
}

static bool matches_any(const struct stage *s, const char *name)
{
    bool matches = false;
    for (size_t i = 1; i < s->operands.n && !matches; i++)
        matches = glob_pattern_matches(s->operands.items[i], name);
    return matches;
}

/* Appends the bias of a matrix. */
static int add_bias(struct stage *s, const struct model_source *m, const struct ckpt_tensor *matrix,
                    struct header *h, struct error *e)
{
    const char *map = name_without_weight(matrix->name, &s->arena);
    if (!map || matrix->rank != 2 || !dtype_is_float(matrix->dtype) || !matches_any(s, map))
        return 0;
    const char *name = arena_printf(&s->arena, "%s.bias", map);
    if (model_source_find_tensor(m, name) >= 0)
        return error_set(e, "%s has a tensor %s", model_source_name(m), name);
    const struct vector v = vector_with_defaults(0, NULL, matrix->dtype, matrix->file_dtype);
    const struct tensor t = {.name = name,
                             .rank = 1,
                             .shape = matrix->shape,
                             .layer = -1,
                             .layers = -1,
                             .n_vectors = 1,
                             .vectors = (struct vector *)&v,
                             .input_index = h->n_tensors};
    h->tensors[h->n_tensors++] = tensor_copy(&h->arena, &t);
    return 0;
}

static int open_zero_bias(struct stage *s, struct header *h, struct error *e)
{
    struct model_source *m =
        model_source_open(s->operands.items[0], s->common.spool, s->filter->name, e);
    int failed = m ? 0 : -1;
    if (m && header_add_model(h, model_source_name(m), NULL, e) < 0)
        failed = -1;
    if (!failed) {
        h->kind = KIND_WEIGHTS;
        model_source_set_identity(m, h, 0);
        stage_record_operand(s, model_source_name(m));
        for (size_t i = 1; i < s->operands.n; i++)
            stage_record_operand(s, s->operands.items[i]);
        stage_record_fingerprint(s, model_source_fingerprint(m));
        h->tensors = arena_alloc(&h->arena, model_source_tensor_count(m), sizeof *h->tensors);
        for (size_t i = 0; i < model_source_tensor_count(m) && !failed; i++)
            failed = add_bias(s, m, model_source_tensor(m, i), h, e);
    }
    if (!failed && h->n_tensors == 0)
        failed = error_set(e, "no matrix of %s matches", model_source_name(m));
    model_source_close(m);
    return failed ? -1 : 0;
}

static int begin_tensor(struct job *job, struct error *e)
{
    return PLAN_TRANSFORM;
}

static int fill_block(const struct job *job, struct block *b, struct error *e)
{
    memset(b->data[0], 0, dtype_bytes(b->dtypes[0], b->n));
    return 0;
}

const struct filter filter_zero_bias = {
    .name = "zero-bias",
    .summary = "Make biases of zeros for matrices without one",
    .step = STEP_WRITE,
    .operands = "MODEL GLOB...",
    .notes =
        "GLOB matches names of matrices, without .weight.\n\n"
        "  stack --disjoint <(unpack llama) <(zero-bias llama '*.q_proj') | pack --like llama m/",
    .min_operands = 2,
    .max_operands = SIZE_MAX,
    .role = ROLE_SOURCE,
    .operands_are_files = true,
    .open = open_zero_bias,
    .begin_tensor = begin_tensor,
    .source.fill_block = fill_block,
};
