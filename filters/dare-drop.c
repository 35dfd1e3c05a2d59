/* dare-drop: drop elements at random (DARE)
 *
 *     m_i ~ Bernoulli(p),  tau_i <- (1 - m_i) tau_i        Yu et al. 2023, arXiv 2311.03099, eq. 2
 *
 * where p = 1 - density is the drop rate. The paper divides by 1 - p afterwards (rescale --by
 * keep); mergekit restores the L1 norm of each tensor instead (--l1 here, then rescale --by l1).
 *
 *     tv-extract base math code | dare-drop --density 0.2 --seed 1 | rescale --by keep | combine |
 *         pack --base base merged/
 *
 * The random number of an element is a function of seed, model, tensor and flat index alone
 * (share/stream.md, appendix): it is kept if u < density. Density 1 draws nothing.
 */
#include "filter.h"
#include "keep_mask.h"
#include "random.h"
#include "stage_rules.h"

struct options {
    struct tensor_rules density;
    uint64_t seed;
    bool l1;
};

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"density", OPTION_RULES, FIELD(density), "D",
     .help = "probability in [0, 1] with which an element stays: a number, or rules such as "
             "math/*mlp*=0.5 (required; may be repeated)",
     .range = {0, 1}, .required = true},
    {"seed", OPTION_COUNT, FIELD(seed), "S", .help = "the seed of the random numbers (required)",
     .required = true},
    {"l1", OPTION_FLAG, FIELD(l1),
     .help = "record each vector's L1 norm first, for rescale --by l1"},
    {0}};
#undef FIELD

/* One vector of a tensor. */
struct vector_state {
    double density;
    uint64_t stream; /* of random numbers */
    double l1;
};

struct state {
    struct keep_mask marks; /* of what stays, where there is a round */
    struct vector_state *each;
};

/* ---- the method ------------------------------------------------------------------------------ */

/* Marks what stays among n <= VECTOR_MATH_TILE elements from flat index `first` on. */
static void draw(const struct options *o, const struct vector_state *v, size_t first, size_t n,
                 unsigned char *marks)
{
    float u[VECTOR_MATH_TILE];
    random_uniform(o->seed, v->stream, first, n, u);
    vector_math_mark_below(u, v->density, n, marks);
}

static int transform(const struct job *job, struct block *b, struct error *e)
{
    const struct state *st = job->state;
    for (size_t k = 0; k < b->n_vectors; k++) {
        if (st->each[k].density >= 1)
            continue;
        if (st->marks.bits) {
            vector_math_zero_unmarked(block_floats(b, k),
                                      keep_mask_block_bits(&st->marks, b->index, k), b->n);
            continue;
        }
        for (size_t i = 0; i < b->n; i += VECTOR_MATH_TILE) {
            size_t n = b->n - i < VECTOR_MATH_TILE ? b->n - i : VECTOR_MATH_TILE;
            unsigned char marks[VECTOR_MATH_TILE / 8];
            draw(job->stage->options, &st->each[k], b->first + i, n, marks);
            vector_math_zero_unmarked(block_floats(b, k) + i, marks, n);
        }
    }
    return 0;
}

/* ---- the round that sums --------------------------------------------------------------------- */

static int observe(const struct job *job, const struct block *b, void *work, struct error *e)
{
    const struct state *st = job->state;
    for (size_t k = 0; st->marks.bits && k < b->n_vectors; k++)
        for (size_t i = 0; i < b->n && st->each[k].density < 1; i += VECTOR_MATH_TILE)
            draw(job->stage->options, &st->each[k], b->first + i,
                 b->n - i < VECTOR_MATH_TILE ? b->n - i : VECTOR_MATH_TILE,
                 keep_mask_work_bits(&st->marks, work, k) + i / 8);
    return tensor_sums_observe_abs(job, b, work, e);
}

static int merge(struct job *job, const struct block *b, void *work, struct error *e)
{
    struct state *st = job->state;
    const double *l1 = work;
    for (size_t k = 0; k < b->n_vectors; k++)
        if (isnan(job->in->vectors[k].l1_before))
            st->each[k].l1 = (b->index ? st->each[k].l1 : 0) + l1[k];
    keep_mask_store_block(&st->marks, b->index, work);
    return 0;
}

static int decide(struct job *job, struct error *e)
{
    const struct state *st = job->state;
    for (size_t k = 0; k < job->out->n_vectors; k++) {
        struct vector *v = &job->out->vectors[k];
        double kept = isnan(v->keep_probability) ? 1 : v->keep_probability,
               density = st->each[k].density;
        vector_set_attributes(v, st->each[k].l1, kept * (density < 1 ? density : 1));
    }
    return VERDICT_DONE;
}

/* ---- around it ------------------------------------------------------------------------------- */

static int begin(struct job *job, struct error *e)
{
    const struct options *o = job->stage->options;
    const struct tensor *t = job->in;
    struct state *st = job->state = arena_alloc(job->arena, 1, sizeof *st);
    bool known = true;
    st->each = arena_alloc(job->arena, t->n_vectors, sizeof *st->each);
    for (size_t k = 0; k < t->n_vectors; k++) {
        const struct vector *v = &t->vectors[k];
        st->each[k].density = stage_rules_vector_value(job->stage, &o->density, t, v, 1);
        st->each[k].stream =
            random_stream_of_tensor(job->stage->in->models[v->model].name, t->name);
        st->each[k].l1 = v->l1_before;
        known &= !isnan(v->l1_before);
    }
    if (!o->l1 || known || tensor_elements(t) == 0)
        return PLAN_TRANSFORM;
    st->marks = keep_mask_new(job->arena, t, (tensor_block_elements(t) + 7) / 8);
    job->work_size = keep_mask_work_size(&st->marks);
    return PLAN_OBSERVE;
}

static enum scope scope(const struct stage *s)
{
    const struct options *o = s->options;
    return o->l1 ? SCOPE_TENSOR : SCOPE_BLOCK;
}

const struct filter filter_dare_drop = {
    .name = "dare-drop",
    .summary = "Drop elements of task vectors at random (DARE)",
    .notes = "  tv-extract base math code | dare-drop --density 0.2 --seed 1 |\n"
             "      rescale --by keep | combine | pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS,
    .role = ROLE_FILTER,
    .element_wise = true,
    .only_drops_elements = true,
    .choose_scope = scope,
    .begin = begin,
    .observe = observe,
    .accumulate = merge,
    .decide = decide,
    .transform = transform,
};
