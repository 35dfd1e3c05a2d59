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
#include "filter.h"
#include "random.h"
#include "rank.h"
#include "simd.h"
#include "sums.h"

#include <stdlib.h>

struct options {
    struct rules density, epsilon;
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
struct state {
    double density, epsilon;
    uint64_t stream; /* of random numbers */
    bool counts;     /* the L1 norm is to be found */
    double l1;
};

/* ---- the method ------------------------------------------------------------------------------ */

/* p[m], the probabilities of the elements of a row x[m]; `work` has room for 2 m. */
static void find_probabilities(const struct state *st, const float *x, float *p, size_t m,
                               uint64_t *work)
{
    const uint64_t *order = rank_ascending(x, m, work);
    float least = (float)(st->density - st->epsilon), epsilon = (float)st->epsilon;
    for (size_t r = 0; r < m; r++)
        p[rank_index(order[r])] = 2 * ((float)r / (float)(m - 1)) * epsilon + least;
}

/* x_i stays if u_i < p_i, m elements */
TV_CLONES static void drop(float *restrict x, const float *restrict u, const float *restrict p,
                           bool rescale, size_t m)
{
    for (size_t i = 0; i < m; i++) {
        float kept = rescale ? (float)((double)x[i] / (double)p[i]) : x[i];
        x[i] = u[i] < p[i] ? kept : 0.0f;
    }
}

/* In a row of one element p is the density; u < a density is the same as u < the next float. */
static float lone_probability(double density)
{
    float p = (float)density;
    return (double)p < density ? nextafterf(p, 1) : p;
}

static int transform(const struct job *job, struct block *b, struct error *e)
{
    const struct options *o = job->stage->options;
    const struct state *st = job->state;
    size_t m = b->columns;
    uint64_t *work = mem_aligned(2 * m * sizeof *work);
    float *u = mem_aligned(2 * m * sizeof *u), *p = u + m;
    (void)e;
    for (size_t k = 0; k < b->n_vectors; k++)
        for (size_t i = 0; i < b->n && st[k].density < 1; i += m) {
            float *x = block_x(b, k) + i;
            random_uniform(o->seed, st[k].stream, b->first + i, m, u);
            if (m > 1)
                find_probabilities(&st[k], x, p, m, work);
            else
                p[0] = lone_probability(st[k].density);
            drop(x, u, p, o->rescale == RESCALE_KEEP, m);
        }
    free(work);
    free(u);
    return 0;
}

/* ---- around it ------------------------------------------------------------------------------- */

static int set_state(const struct job *job, const struct vector *v, struct state *st,
                     struct error *e)
{
    const struct options *o = job->stage->options;
    const char *model = job->stage->in->models[v->model].name;
    double density = stage_rule(job->stage, &o->density, job->in, v, 1);
    double epsilon = stage_rule(job->stage, &o->epsilon, job->in, v, EPSILON);
    if (density <= 0) /* then no probability is above 0 */
        epsilon = 0;
    else if (density < 1 && (density - epsilon <= 0 || density + epsilon >= 1))
        return error_set(e,
                         "tensor %s of %s: density %g with epsilon %g gives probabilities from %g "
                         "to %g; they must lie between 0 and 1",
                         job->in->name, model, density, epsilon, density - epsilon,
                         density + epsilon);
    bool counts = isnan(v->l1_before) && o->rescale != RESCALE_KEEP;
    *st = (struct state){.density = density,
                         .epsilon = epsilon,
                         .stream = random_stream(model, job->in->name),
                         .counts = counts,
                         .l1 = counts ? 0 : v->l1_before};
    return 0;
}

static int begin(struct job *job, struct error *e)
{
    const struct tensor *t = job->in;
    bool counts = false;
    if (tensor_elements(t) == 0)
        return PLAN_PASS;
    struct state *st = job->state = arena_alloc(job->arena, t->n_vectors, sizeof *st);
    for (size_t k = 0; k < t->n_vectors; k++) {
        if (set_state(job, &t->vectors[k], &st[k], e))
            return -1;
        counts |= st[k].counts;
    }
    job->work_size = t->n_vectors * sizeof(double);
    return counts ? PLAN_OBSERVE : PLAN_TRANSFORM;
}

static int merge(struct job *job, const struct block *b, void *work, struct error *e)
{
    struct state *st = job->state;
    const double *l1 = work;
    (void)e;
    for (size_t k = 0; k < b->n_vectors; k++)
        if (st[k].counts)
            st[k].l1 += l1[k];
    return 0;
}

static int decide(struct job *job, struct error *e)
{
    const struct state *st = job->state;
    (void)e;
    for (size_t k = 0; k < job->out->n_vectors; k++) {
        struct vector *v = &job->out->vectors[k];
        if (st[k].density >= 1)
            v->l1_before = st[k].l1;
        else /* its elements have no common probability */
            vector_set_attributes(v, st[k].l1, NAN);
    }
    return VERDICT_DONE;
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
    .least_scope = SCOPE_ROW,
    .begin = begin,
    .observe = sums_observe_l1,
    .merge = merge,
    .decide = decide,
    .transform = transform,
};
