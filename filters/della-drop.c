/* della-drop: drop elements at random, small ones rather than large ones (DELLA's MAGPRUNE)
 *
 *     p_r = (density - epsilon) + 2 epsilon r / (m - 1)      rank r = 0 ... m - 1 of |tau_i| in its
 *     tau_i is kept with probability p_r                     row of m elements, smallest first
 *     --rescale=keep:  tau_i <- tau_i / p_r
 *
 * DELLA-Merging: Deep et al. 2024, arXiv 2406.11617, section 3. The paper divides each element by
 * its own probability; mergekit restores the L1 norm of each tensor instead: rescale --by l1, for
 * which l1_before is recorded unless --rescale=keep is given.
 *
 *     tv-extract base math code | della-drop --density 0.5 --epsilon 0.1 --seed 1 |
 *         rescale --by l1 | elect-sign | combine --normalize=agreeing | pack --base base merged/
 *
 * As in mergekit p is computed in F32, equal magnitudes rank by flat index, a 1-D tensor is one
 * row, density 1 keeps a vector unchanged, density 0 drops all of it, and for other densities the
 * probabilities must lie in (0, 1). In a row of one element p is the density. The random number of
 * an element is a function of seed, model, tensor and flat index alone (share/stream.md, appendix).
 */
#include "bitmask.h"
#include "filter.h"
#include "magnitude_rank.h"
#include "random.h"
#include "random_drop.h"
#include "scratch.h"
#include "stage_rules.h"

#include <stdlib.h>

struct options {
    struct tensor_rules density, epsilon, rescale;
    uint64_t seed;
};

enum { RESCALE_NONE, RESCALE_KEEP };

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"density", OPTION_RULES, FIELD(density), "D",
     .help = "mean probability in [0, 1] of keeping an element: a number, or rules such as "
             "math/*mlp*=0.5 (required; repeatable)",
     .range = {.low = 0, .high = 1}, .required = true},
    {"epsilon", OPTION_RULES, FIELD(epsilon), "E",
     .help = "distance from the density to the probabilities of the smallest and the largest "
             "element of a row: a number in [0, 1), or rules (default 0.15); repeatable",
     .range = {0, 1, .high_open = true}},
    {"seed", OPTION_COUNT, FIELD(seed), "S", .help = "seed of the random numbers (required)",
     .required = true},
    {"rescale", OPTION_CHOICE_RULES, FIELD(rescale), "WHAT",
     .help = "keep: divide each kept element by its own probability, as the paper does; none (the "
             "default); or rules such as /*mlp*=keep (repeatable)",
     .choices = "none|keep", .per_tensor = true},
    {0}};
#undef FIELD

#define DEFAULT_EPSILON 0.15 /* mergekit's */

/* One tensor. */
struct state {
    struct random_drop drop; /* first, for random_drop.h */
    double *epsilon;         /* (K) */
};

/* ---- the method ------------------------------------------------------------------------------ */

/* Buffers for rows of m elements. */
struct row_buffers {
    float *u, *p;      /* (m) random numbers; probabilities by rank */
    float *p_of;       /* (m) probabilities by element */
    uint64_t *ranking; /* for magnitude_rank */
    struct scratch memory;
};

static int row_buffers_alloc(struct row_buffers *r, const struct job *job, size_t m,
                             struct error *e)
{
    const struct common_options *o = &job->stage->common;
    size_t aligned = (m + 63) / 64 * 64;
    size_t size = aligned * (MAGNITUDE_RANK_WORK * sizeof(uint64_t) + 3 * sizeof(float));
    if (scratch_alloc(&r->memory, size, o->memory, o->spool, e))
        return -1;
    r->ranking = r->memory.bytes;
    r->u = (float *)(r->ranking + MAGNITUDE_RANK_WORK * aligned);
    r->p = r->u + aligned;
    r->p_of = r->p + aligned;
    return 0;
}

/* p_r for rows of m elements. In a row of one p is the density: the float for which u < p is the
 * same as u < density, which is the next larger one if the density is not a float. */
TV_CLONES static void compute_probabilities(double density, double epsilon, float *p, size_t m)
{
    float least = (float)(density - epsilon), spread = (float)epsilon;
    for (size_t r = 0; r < m && m > 1; r++)
        p[r] = 2 * ((float)(int32_t)r / (float)(int32_t)(m - 1)) * spread + least;
    if (m == 1)
        p[0] = (double)(float)density < density ? nextafterf((float)density, 1) : (float)density;
}

/* Draws which elements of a row x[m] at flat index `first` are kept: a byte of 1 each. */
static void draw_row(const struct options *o, uint64_t random_stream, const float *x, size_t first,
                     size_t m, struct row_buffers *r, unsigned char *kept)
{
    random_fill_uniform(o->seed, random_stream, first, m, r->u);
    magnitude_rank_mark_below(x, r->u, m, r->p, r->ranking, kept);
}

TV_CLONES static void keep_and_divide(const float *u, const float *p, float *x, size_t m)
{
    for (size_t i = 0; i < m; i++) {
        float divided = (float)((double)x[i] / (double)p[i]);
        x[i] = u[i] < p[i] ? divided : 0.0f;
    }
}

/* --rescale=keep: draws, and divides the kept elements by their p_r. */
static void drop_and_divide_row(const struct options *o, uint64_t random_stream, float *x,
                                size_t first, size_t m, struct row_buffers *r)
{
    random_fill_uniform(o->seed, random_stream, first, m, r->u);
    magnitude_rank_values(x, m, r->p, r->ranking, r->p_of);
    keep_and_divide(r->u, r->p_of, x, m);
}

static bool divides_kept_elements(const struct job *job)
{
    const struct options *o = job->stage->options;
    return stage_rules_tensor_value(&o->rescale, job->in, RESCALE_NONE) == RESCALE_KEEP;
}

/* Buffers for the rows of a block's vector k, with its probabilities. */
static int row_buffers_begin(struct row_buffers *r, const struct job *job, const struct block *b,
                             size_t k, struct error *e)
{
    const struct state *st = job->state;
    if (row_buffers_alloc(r, job, b->columns, e))
        return -1;
    compute_probabilities(st->drop.vectors[k].density, st->epsilon[k], r->p, b->columns);
    return 0;
}

static int draw_keep_mask_of_block(const struct job *job, const struct block *b, size_t k,
                                   unsigned char *bits, struct error *e)
{
    const struct random_drop *d = job->state;
    size_t m = b->columns;
    struct row_buffers r;
    if (row_buffers_begin(&r, job, b, k, e))
        return -1;
    unsigned char *kept = mem_alloc(b->n + 8, 1);
    for (size_t i = 0; i < b->n; i += m)
        draw_row(job->stage->options, d->vectors[k].random_stream, block_floats(b, k) + i,
                 b->first + i, m, &r, kept + i);
    bitmask_pack(kept, b->n, bits);
    free(kept);
    scratch_free(&r.memory);
    return 0;
}

static int drop_and_divide_elements(const struct job *job, const struct block *b, size_t k,
                                    struct error *e)
{
    const struct random_drop *d = job->state;
    size_t m = b->columns;
    struct row_buffers r;
    if (row_buffers_begin(&r, job, b, k, e))
        return -1;
    for (size_t i = 0; i < b->n; i += m)
        drop_and_divide_row(job->stage->options, d->vectors[k].random_stream,
                            block_floats(b, k) + i, b->first + i, m, &r);
    scratch_free(&r.memory);
    return 0;
}

static int draw_and_drop_elements(const struct job *job, const struct block *b, size_t k,
                                  struct error *e)
{
    unsigned char *bits = mem_alloc((b->n + 7) / 8, 1);
    float *x = block_floats(b, k);
    int failed = draw_keep_mask_of_block(job, b, k, bits, e);
    if (!failed)
        bitmask_keep_marked(x, bits, b->n, x);
    free(bits);
    return failed;
}

static int transform_block(const struct job *job, struct block *b, struct error *e)
{
    const struct random_drop *d = job->state;
    int failed = 0;
    for (size_t k = 0; k < b->n_vectors && !failed; k++) {
        float *x = block_floats(b, k);
        if (d->vectors[k].density >= 1)
            continue;
        if (divides_kept_elements(job))
            failed = drop_and_divide_elements(job, b, k, e);
        else if (d->mask.bits)
            bitmask_keep_marked(x, keep_mask_block_bits(&d->mask, b->index, k), b->n, x);
        else
            failed = draw_and_drop_elements(job, b, k, e);
    }
    return failed;
}

/* ---- the round that sums --------------------------------------------------------------------- */

static int observe_block(const struct job *job, const struct block *b, void *work, struct error *e)
{
    return random_drop_observe(job, b, work, draw_keep_mask_of_block, e);
}

static int end_round(struct job *job, struct error *e)
{
    const struct random_drop *d = job->state;
    for (size_t k = 0; k < job->out->n_vectors; k++) {
        struct vector *v = &job->out->vectors[k];
        bool drops = d->vectors[k].density < 1; /* with no probability in common */
        random_drop_set_attributes(&d->vectors[k], drops ? NAN : v->keep_probability, v);
    }
    return VERDICT_DONE;
}

/* ---- probabilities --------------------------------------------------------------------------- */

static double find_epsilon(const struct stage *s, const struct tensor *t, const struct vector *v)
{
    const struct options *o = s->options;
    return stage_rules_vector_value(s, &o->epsilon, t, v, DEFAULT_EPSILON);
}

static int check_probabilities(const struct stage *s, const struct tensor *t,
                               const struct vector *v, struct error *e)
{
    const struct options *o = s->options;
    double density = stage_rules_vector_value(s, &o->density, t, v, 1);
    double epsilon = find_epsilon(s, t, v);
    if (density <= 0 || density >= 1 || (density - epsilon > 0 && density + epsilon < 1))
        return 0;
    return error_set(e,
                     "tensor %s of %s: density %g with epsilon %g gives probabilities from %g to "
                     "%g; expected numbers between 0 and 1",
                     t->name, s->in->models[v->model].name, density, epsilon, density - epsilon,
                     density + epsilon);
}

static int open_della_drop(struct stage *s, struct header *h, struct error *e)
{
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct tensor *t = &h->tensors[i];
        for (size_t k = 0; k < t->n_vectors && tensor_is_float(t) && tensor_elements(t); k++)
            if (check_probabilities(s, t, &t->vectors[k], e))
                return -1;
    }
    return 0;
}

static int begin_tensor(struct job *job, struct error *e)
{
    const struct options *o = job->stage->options;
    const struct tensor *t = job->in;
    if (tensor_elements(t) == 0)
        return PLAN_PASS_THROUGH;
    struct state *st = job->state = arena_alloc(job->arena, 1, sizeof *st);
    st->epsilon = arena_alloc(job->arena, t->n_vectors, sizeof *st->epsilon);
    random_drop_init(&st->drop, job, &o->density, !divides_kept_elements(job));
    for (size_t k = 0; k < t->n_vectors; k++) /* density 0: all probabilities are 0 */
        st->epsilon[k] =
            st->drop.vectors[k].density > 0 ? find_epsilon(job->stage, t, &t->vectors[k]) : 0;
    return random_drop_choose_plan(&st->drop, job);
}

const struct filter filter_della_drop = {
    .name = "della-drop",
    .summary = "Drop elements of task vectors at random, small ones more often (DELLA)",
    .step = STEP_SPARSIFY,
    .notes = "  tv-extract base math code |\n"
             "      della-drop --density 0.5 --epsilon 0.1 --seed 1 | rescale --by l1 |\n"
             "      elect-sign | combine --normalize=agreeing | pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS,
    .role = ROLE_FILTER,
    .element_wise = true,
    .scope = SCOPE_ROW,
    .open = open_della_drop,
    .begin_tensor = begin_tensor,
    .observe_block = observe_block,
    .accumulate_block = random_drop_accumulate,
    .end_round = end_round,
    .transform_block = transform_block,
};
