/* della-drop: drop elements at random, small ones rather than large ones (DELLA's MAGPRUNE)
 *
 *     p_r = (density - epsilon) + 2 epsilon r / (m - 1)      rank r = 0 ... m - 1 of |tau_i| in its
 *     tau_i stays with probability p_r                       row of m elements, smallest first
 *     --rescale=keep:  tau_i <- tau_i / p_r
 *
 * DELLA-Merging: Deep et al. 2024, arXiv 2406.11617, section 3. The paper divides each element by
 * its own probability; mergekit restores the L1 norm of each tensor instead: rescale --by l1, for
 * which l1_before is recorded unless --rescale=keep was given.
 *
 *     tv-extract base math code | della-drop --density 0.5 --epsilon 0.1 --seed 1 |
 *         rescale --by l1 | elect-sign | combine --normalize=agreeing | pack --base base merged/
 *
 * As in mergekit p is computed in F32, equal magnitudes rank by flat index, a 1-D tensor is one
 * row, density 1 leaves a vector alone, density 0 drops all of it, and in between the probabilities
 * must lie in (0, 1). In a row of one element p is the density. The random number of an element is
 * a function of seed, model, tensor and flat index alone (share/stream.md, appendix).
 */
#include "bitmask.h"
#include "filter.h"
#include "keep_mask.h"
#include "random.h"
#include "magnitude_sort.h"
#include "stage_rules.h"

#include <stdlib.h>

struct options {
    struct tensor_rules density, epsilon;
    uint64_t seed;
    int rescale;
};

enum { RESCALE_KEEP };

#define FIELD(f) offsetof(struct options, f)
static const struct option_row rows[] = {
    {"density", OPTION_RULES, FIELD(density), "D",
     .help = "mean probability in [0, 1] with which an element stays: a number, or rules such as "
             "math/*mlp*=0.5 (required; may be repeated)",
     .range = {0, 1}, .required = true},
    {"epsilon", OPTION_RULES, FIELD(epsilon), "E",
     .help = "how far the probabilities of the smallest and the largest element of a row lie from "
             "the density: a number in [0, 1), or rules (default 0.15); may be repeated",
     .range = {0, 1, .high_open = true}},
    {"seed", OPTION_COUNT, FIELD(seed), "S", .help = "the seed of the random numbers (required)",
     .required = true},
    {"rescale", OPTION_CHOICE, FIELD(rescale), "keep",
     .help = "divide each element that stays by its own probability, as the paper does",
     .choices = "keep"},
    {0}};
#undef FIELD

#define EPSILON 0.15 /* mergekit's default */

/* One vector of a tensor. */
struct vector_state {
    double density, epsilon;
    uint64_t stream; /* of random numbers */
    bool counts;     /* the L1 norm is to be found */
    double l1;
};

struct state {
    struct keep_mask
        marks; /* of what stays, where there is a round; each row in bytes of its own */
    struct vector_state *each;
};

static size_t row_bytes(size_t m)
{
    return (m + 7) / 8;
}

/* ---- the method ------------------------------------------------------------------------------ */

/* For rows of m elements. */
struct scratch {
    float *u, *p;         /* (m) random numbers; probabilities, by rank */
    uint64_t *work;       /* (2 m) for ranks */
    unsigned char *marks; /* (m) */
};

static struct scratch scratch_new(size_t m)
{
    struct scratch s = {.u = mem_alloc_aligned(m * sizeof *s.u),
                        .p = mem_alloc_aligned(m * sizeof *s.p)};
    s.work = mem_alloc_aligned(2 * m * sizeof *s.work);
    s.marks = mem_alloc_aligned(m + 8);
    return s;
}

static void scratch_free(struct scratch *s)
{
    free(s->u);
    free(s->p);
    free(s->work);
    free(s->marks);
}

/* p_r for rows of m elements. In a row of one p is the density, and u < a density is the same as
 * u < the next float. */
TV_CLONES static void find_probabilities(const struct vector_state *v, float *p, size_t m)
{
    float least = (float)(v->density - v->epsilon), epsilon = (float)v->epsilon;
    for (size_t r = 0; r < m && m > 1; r++)
        p[r] = 2 * ((float)(int32_t)r / (float)(int32_t)(m - 1)) * epsilon + least;
    if (m == 1)
        p[0] = (double)(float)v->density < v->density ? nextafterf((float)v->density, 1)
                                                      : (float)v->density;
}

/* Draws for each element of a row x[m] at flat index `first`: a bit says whether it stays. If asked
 * to, divides it by its p_r too. */
static void draw(const struct options *o, const struct vector_state *v, float *x, size_t first,
                 size_t m, bool divide, struct scratch *s, unsigned char *bits)
{
    random_uniform(o->seed, v->stream, first, m, s->u);
    const uint64_t *order = magnitude_sort_ascending(x, m, s->work);
    for (size_t r = 0; r < m; r++) {
        size_t i = magnitude_sort_index(order[r]);
        s->marks[i] = s->u[i] < s->p[r];
    }
    for (size_t r = 0; r < m && divide; r++) {
        size_t i = magnitude_sort_index(order[r]);
        x[i] = (float)((double)x[i] / (double)s->p[r]);
    }
    bitmask_pack(s->marks, m, bits);
}

static int transform(const struct job *job, struct block *b, struct error *e)
{
    const struct options *o = job->stage->options;
    const struct state *st = job->state;
    size_t m = b->columns;
    struct scratch s = scratch_new(m);
    unsigned char *own = mem_alloc(row_bytes(m), 1);
    for (size_t k = 0; k < b->n_vectors; k++) {
        const struct vector_state *v = &st->each[k];
        const unsigned char *bits =
            st->marks.bits ? keep_mask_block_bits(&st->marks, b->index, k) : own;
        find_probabilities(v, s.p, m);
        for (size_t i = 0; i < b->n && v->density < 1; i += m) {
            float *x = block_floats(b, k) + i;
            if (!st->marks.bits)
                draw(o, v, x, b->first + i, m, o->rescale == RESCALE_KEEP, &s, own);
            vector_math_zero_unmarked(x, bits, m);
            bits += st->marks.bits ? row_bytes(m) : 0;
        }
    }
    free(own);
    scratch_free(&s);
    return 0;
}

/* ---- the round that sums --------------------------------------------------------------------- */

static int observe(const struct job *job, const struct block *b, void *work, struct error *e)
{
    const struct state *st = job->state;
    size_t m = b->columns;
    struct scratch s = scratch_new(m);
    for (size_t k = 0; st->marks.bits && k < b->n_vectors; k++) {
        unsigned char *bits = keep_mask_work_bits(&st->marks, work, k);
        find_probabilities(&st->each[k], s.p, m);
        for (size_t i = 0; i < b->n && st->each[k].density < 1; i += m, bits += row_bytes(m))
            draw(job->stage->options, &st->each[k], block_floats(b, k) + i, b->first + i, m, false,
                 &s, bits);
    }
    scratch_free(&s);
    return tensor_sums_observe_abs(job, b, work, e);
}

static int merge(struct job *job, const struct block *b, void *work, struct error *e)
{
    struct state *st = job->state;
    const double *l1 = work;
    for (size_t k = 0; k < b->n_vectors; k++)
        if (st->each[k].counts)
            st->each[k].l1 += l1[k];
    keep_mask_store_block(&st->marks, b->index, work);
    return 0;
}

static int decide(struct job *job, struct error *e)
{
    const struct state *st = job->state;
    for (size_t k = 0; k < job->out->n_vectors; k++) {
        struct vector *v = &job->out->vectors[k];
        if (st->each[k].density >= 1)
            v->l1_before = st->each[k].l1;
        else /* its elements have no common probability */
            vector_set_attributes(v, st->each[k].l1, NAN);
    }
    return VERDICT_DONE;
}

/* ---- around it ------------------------------------------------------------------------------- */

static int set_state(const struct job *job, const struct vector *v, struct vector_state *st,
                     struct error *e)
{
    const struct options *o = job->stage->options;
    const char *model = job->stage->in->models[v->model].name;
    double density = stage_rules_vector_value(job->stage, &o->density, job->in, v, 1);
    double epsilon = stage_rules_vector_value(job->stage, &o->epsilon, job->in, v, EPSILON);
    if (density <= 0) /* then no probability is above 0 */
        epsilon = 0;
    else if (density < 1 && (density - epsilon <= 0 || density + epsilon >= 1))
        return error_set(e,
                         "tensor %s of %s: density %g with epsilon %g gives probabilities from %g "
                         "to %g; they must lie between 0 and 1",
                         job->in->name, model, density, epsilon, density - epsilon,
                         density + epsilon);
    bool counts = isnan(v->l1_before) && o->rescale != RESCALE_KEEP;
    *st = (struct vector_state){.density = density,
                                .epsilon = epsilon,
                                .stream = random_stream_of_tensor(model, job->in->name),
                                .counts = counts,
                                .l1 = counts ? 0 : v->l1_before};
    return 0;
}

static int begin(struct job *job, struct error *e)
{
    const struct tensor *t = job->in;
    size_t m = tensor_columns(t);
    bool counts = false;
    if (tensor_elements(t) == 0)
        return PLAN_PASS_THROUGH;
    struct state *st = job->state = arena_alloc(job->arena, 1, sizeof *st);
    st->each = arena_alloc(job->arena, t->n_vectors, sizeof *st->each);
    for (size_t k = 0; k < t->n_vectors; k++) {
        if (set_state(job, &t->vectors[k], &st->each[k], e))
            return -1;
        counts |= st->each[k].counts;
    }
    if (!counts)
        return PLAN_TRANSFORM;
    st->marks = keep_mask_new(job->arena, t, tensor_block_elements(t) / m * row_bytes(m));
    job->work_size = keep_mask_work_size(&st->marks);
    return PLAN_OBSERVE;
}

const struct filter filter_della_drop = {
    .name = "della-drop",
    .summary = "Drop elements of task vectors at random, small ones rather than large (DELLA)",
    .notes = "  tv-extract base math code | della-drop --density 0.5 --epsilon 0.1 --seed 1 |\n"
             "      rescale --by l1 | elect-sign | combine --normalize=agreeing |\n"
             "      pack --base base merged/",
    .options_size = sizeof(struct options),
    .options = rows,
    .kinds = KIND_TASK_VECTORS,
    .role = ROLE_FILTER,
    .element_wise = true,
    .scope = SCOPE_ROW,
    .begin = begin,
    .observe = observe,
    .accumulate = merge,
    .decide = decide,
    .transform = transform,
};
