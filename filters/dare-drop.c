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
 * An element is kept if its random number u, a function of seed, model, tensor and flat index alone
 * (share/stream.md, appendix), is below the density. Density 1 draws nothing.
 */
#include "bitmask.h"
#include "filter.h"
#include "random.h"
#include "random_drop.h"

struct options {
    struct tensor_rules density;
    uint64_t seed;
    bool l1;
};

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"density", OPTION_RULES, FIELD(density), "D",
     .help = "probability in [0, 1] of keeping an element: a number, or rules such as "
             "math/*mlp*=0.5 (required; repeatable)",
     .range = {.low = 0, .high = 1}, .required = true},
    {"seed", OPTION_COUNT, FIELD(seed), "S", .help = "seed of the random numbers (required)",
     .required = true},
    {"l1", OPTION_FLAG, FIELD(l1),
     .help = "record each vector's L1 norm before the drop, for rescale --by l1"},
    {0}};
#undef FIELD

/* ---- the method ------------------------------------------------------------------------------ */

#define TILE VECTOR_MATH_TILE

static size_t count_elements_in_tile(const struct block *b, size_t i)
{
    return b->n - i < TILE ? b->n - i : TILE;
}

/* Which of the elements of a tile, which begins at element i of a block's vector k, are kept. */
static void draw_keep_mask_of_tile(const struct job *job, const struct block *b, size_t k, size_t i,
                                   unsigned char *bits)
{
    const struct options *o = job->stage->options;
    const struct random_drop *d = job->state;
    const struct random_drop_vector *v = &d->vectors[k];
    size_t n = count_elements_in_tile(b, i);
    float u[TILE];
    random_fill_uniform(o->seed, v->random_stream, b->first + i, n, u);
    bitmask_mark_below(u, v->density, n, bits);
}

static int draw_keep_mask_of_block(const struct job *job, const struct block *b, size_t k,
                                   unsigned char *bits, struct error *e)
{
    for (size_t i = 0; i < b->n; i += TILE)
        draw_keep_mask_of_tile(job, b, k, i, bits + i / 8);
    return 0;
}

/* Draws tile by tile, without a stored mask. */
static void draw_and_drop_elements(const struct job *job, const struct block *b, size_t k)
{
    unsigned char bits[TILE / 8];
    for (size_t i = 0; i < b->n; i += TILE) {
        float *x = block_floats(b, k) + i;
        draw_keep_mask_of_tile(job, b, k, i, bits);
        bitmask_keep_marked(x, bits, count_elements_in_tile(b, i), x);
    }
}

static int transform_block(const struct job *job, struct block *b, struct error *e)
{
    const struct random_drop *d = job->state;
    for (size_t k = 0; k < b->n_vectors; k++) {
        float *x = block_floats(b, k);
        if (d->vectors[k].density >= 1)
            continue;
        if (d->mask.bits)
            bitmask_keep_marked(x, keep_mask_block_bits(&d->mask, b->index, k), b->n, x);
        else
            draw_and_drop_elements(job, b, k);
    }
    return 0;
}

/* ---- --l1: the round that sums --------------------------------------------------------------- */

static int begin_tensor(struct job *job, struct error *e)
{
    const struct options *o = job->stage->options;
    struct random_drop *d = job->state = arena_alloc(job->arena, 1, sizeof *d);
    random_drop_init(d, job, &o->density, o->l1);
    return random_drop_choose_plan(d, job);
}

static int observe_block(const struct job *job, const struct block *b, void *work, struct error *e)
{
    return random_drop_observe(job, b, work, draw_keep_mask_of_block, e);
}

static int end_round(struct job *job, struct error *e)
{
    const struct random_drop *d = job->state;
    for (size_t k = 0; k < job->out->n_vectors; k++) {
        struct vector *v = &job->out->vectors[k];
        double kept = isnan(v->keep_probability) ? 1 : v->keep_probability;
        double density = d->vectors[k].density < 1 ? d->vectors[k].density : 1;
        random_drop_set_attributes(&d->vectors[k], kept * density, v);
    }
    return VERDICT_DONE;
}

static enum scope choose_scope(const struct stage *s)
{
    const struct options *o = s->options;
    return o->l1 ? SCOPE_TENSOR : SCOPE_BLOCK;
}

const struct filter filter_dare_drop = {
    .name = "dare-drop",
    .summary = "Drop elements of task vectors at random (DARE)",
    .step = STEP_SPARSIFY,
    .notes = "  tv-extract base math code | dare-drop --density 0.2 --seed 1 |\n"
             "      rescale --by keep | combine | pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS,
    .role = ROLE_FILTER,
    .element_wise = true,
    .only_drops_elements = true,
    .choose_scope = choose_scope,
    .begin_tensor = begin_tensor,
    .observe_block = observe_block,
    .accumulate_block = random_drop_accumulate,
    .end_round = end_round,
    .transform_block = transform_block,
};
