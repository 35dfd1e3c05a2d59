#include "teachers.h"

#include "mem.h"
#include "spool.h"

#include <stdlib.h>
#include <string.h>

#define GROUP 2048 /* tokens that pass an expert together */
#define ROOM  1024 /* tokens that are in a layer at once */

struct teachers {
    const struct arch *arch;
    const struct example *examples;
    size_t n;
    long *place;      /* [h_0 .. h_L]: which of the kept states it is; -1: not kept */
    size_t kept;      /* states of each token */
    uint64_t *offset; /* [example]: of its states (kept, T, d) */
    struct spool *states;
    const struct weight_source **heads; /* [expert] */
    size_t at;                          /* the expert whose head is asked for */
    struct weight_source weights;
    struct lm *lm;
};

static const float *head_rows(void *context, enum weight_kind part, size_t first, size_t n,
                              float *to, struct error *e)
{
    const struct teachers *t = context;
    const struct weight_source *w = t->heads[t->at];
    return w->load_rows(w->context, part, first, n, to, e);
}

struct teachers *teachers_new(const struct arch *a, size_t experts, const struct example *examples,
                              size_t n, const bool *wanted, uint64_t memory, const char *spool)
{
    struct teachers *t = mem_alloc(1, sizeof *t);
    t->arch = a;
    t->examples = examples;
    t->n = n;
    t->place = mem_alloc(a->layers + 1, sizeof *t->place);
    for (size_t l = 0; l <= a->layers; l++)
        t->place[l] = wanted[l] || l == a->layers ? (long)t->kept++ : -1;
    t->offset = mem_alloc(n + 1, sizeof *t->offset);
    for (size_t i = 0; i < n; i++)
        t->offset[i + 1] = t->offset[i] + (examples[i].on_other_rank ? 0 : (uint64_t)t->kept) *
                                              examples[i].n * a->hidden * sizeof(float);
    t->states = spool_new(memory, spool);
    t->heads = mem_alloc(experts, sizeof *t->heads);
    t->weights = (struct weight_source){t, NULL, head_rows};
    t->lm = lm_new(a, &t->weights, 1, 1);
    return t;
}

void teachers_free(struct teachers *t)
{
    if (!t)
        return;
    lm_free(t->lm);
    spool_free(t->states);
    free(t->place);
    free(t->offset);
    free(t->heads);
    free(t);
}

uint64_t teachers_stored_bytes(const struct teachers *t)
{
    return t->offset[t->n];
}

/* ---- hidden states --------------------------------------------------------------------------- */

/* Some examples that pass the model together. */
struct group {
    struct teachers *teachers;
    const size_t *examples;
    const struct token_batch *pack;
};

/* State L of lm.h is no hidden state: L + 1 is, as h_L. */
static int keep(void *context, size_t state, const float *x, struct error *e)
{
    const struct group *g = context;
    const struct teachers *t = g->teachers;
    size_t L = t->arch->layers, d = t->arch->hidden;
    if (state == L)
        return 0;
    long place = t->place[state > L ? L : state];
    for (size_t s = 0; place >= 0 && s < g->pack->samples; s++) {
        size_t from = g->pack->starts[s] - g->pack->starts[0];
        size_t bytes = t->examples[g->examples[s]].n * d * sizeof *x;
        uint64_t at = t->offset[g->examples[s]] + (uint64_t)place * bytes;
        if (spool_write(t->states, at, x + from * d, bytes, e))
            return -1;
    }
    return 0;
}

int teachers_run_expert(struct teachers *t, size_t expert, const struct arch *a,
                        const struct weight_source *w, const struct image_features *sights,
                        struct error *e)
{
    size_t n = 0, *mine = mem_alloc(t->n, sizeof *mine);
    struct sequence *all = mem_alloc(t->n, sizeof *all);
    struct token_batch p;
    t->heads[expert] = w;
    for (size_t i = 0; i < t->n; i++)
        if (t->examples[i].expert == expert && !t->examples[i].on_other_rank) {
            all[n] = example_sequence(&t->examples[i]);
            mine[n++] = i;
        }
    int failed = expert == 0 ? spool_reserve(t->states, t->offset[t->n], e) : 0;
    token_batch_build(&p, a, all, n);
    free(all);
    size_t tokens = token_batch_tokens(&p);
    struct lm *lm = lm_new(a, w, tokens < ROOM ? tokens : ROOM, token_batch_longest(&p));
    lm_set_image_features(lm, sights);
    for (size_t s = 0; s < n && !failed;) {
        struct token_batch part = token_batch_slice(&p, a, s, GROUP);
        struct group g = {t, mine + s, &part};
        const struct state_hook keeper = {&g, keep};
        float *x = mem_alloc_aligned(token_batch_tokens(&part) * a->hidden * sizeof *x);
        failed = lm_forward(lm, &part, x, &keeper, e);
        free(x);
        s += part.samples;
    }
    lm_free(lm);
    token_batch_free(&p);
    free(mine);
    return failed ? -1 : 0;
}

int teachers_read_states(const struct teachers *t, size_t example, size_t state, size_t from,
                         size_t n, float *to, struct error *e)
{
    size_t row = t->arch->hidden * sizeof *to;
    uint64_t first = (uint64_t)t->place[state] * t->examples[example].n + from;
    return spool_read(t->states, t->offset[example] + first * row, to, n * row, e);
}

int teachers_compute_logits(struct teachers *t, size_t expert, const float *h, size_t n, float *z,
                            struct error *e)
{
    t->at = expert;
    return lm_logits(t->lm, h, n, z, e);
}
