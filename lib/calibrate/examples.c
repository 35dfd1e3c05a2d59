#include "examples.h"

#include "mem.h"

#include <stdlib.h>
#include <string.h>

/* The expert of a task; -1: none. */
static long expert_of(const struct example_selection *w, const char *task)
{
    for (size_t i = 0; i < w->renamed; i++)
        if (strcmp(task, w->tasks[i]) == 0)
            return (long)w->of[i];
    for (size_t k = 0; k < w->experts; k++)
        if (strcmp(task, w->names[k]) == 0)
            return (long)k;
    return -1;
}

/* The positions that count: all, or those from which the response is foretold. */
static int choose_positions(struct example *x, const struct sample *s, bool responses,
                            struct error *e)
{
    x->first_position = 0;
    x->last_position = s->n - 1;
    if (!responses || s->prompt_tokens == 0)
        return 0;
    if (s->prompt_tokens == s->n)
        return sample_error(s, e,
                            "there is no response behind the prompt, and only responses "
                            "count (--on all)");
    x->first_position = s->prompt_tokens - 1;
    x->last_position = s->n - 2;
    return 0;
}

static int add(struct examples *x, const struct sample *s, const char *task, size_t expert,
               size_t number, const struct example_selection *w, struct error *e)
{
    struct example *example = &x->list[x->n];
    *example = (struct example){
        .ids = s->ids, .n = s->n, .expert = expert, .images = s->images, .pictures = w->pictures};
    x->tasks[x->n] = task;
    x->sample_numbers[x->n++] = number;
    x->longest = s->n > x->longest ? s->n : x->longest;
    return choose_positions(example, s, w->responses, e);
}

/* Adds the first samples of expert k; `count` receives how many. */
static int choose_of_expert(struct examples *x, const struct samples *s, size_t k,
                            const struct example_selection *w, size_t *count, struct error *e)
{
    *count = 0;
    for (size_t i = 0; i < s->n && *count < w->per_task; i++) {
        const char *task = s->tasks[s->samples[i].task];
        if (expert_of(w, task) != (long)k)
            continue;
        if (add(x, &s->samples[i], task, k, (*count)++, w, e))
            return -1;
    }
    if (*count == 0)
        return error_set(e, "there are no samples for %s (--task TASK=%s says which are its own)",
                         w->names[k], w->names[k]);
    if (*count <= w->held_out)
        return error_set(e, "%s has %zu samples; %zu of them cannot be held out (--validate)",
                         w->names[k], *count, w->held_out);
    return 0;
}

/* for i: for k: sample i mod n_k of expert k; but not the last ones, which are held out. */
static void set_order(struct examples *x, const size_t *counts, const struct example_selection *w)
{
    size_t most = 0;
    for (size_t k = 0; k < w->experts; k++)
        most = counts[k] > most ? counts[k] : most;
    most -= w->held_out;
    x->order = mem_alloc(most * w->experts, sizeof *x->order);
    x->held_out = mem_alloc(w->held_out * w->experts, sizeof *x->held_out);
    for (size_t i = 0; i < most; i++)
        for (size_t k = 0, first = 0; k < w->experts; first += counts[k++])
            x->order[x->n_order++] = first + i % (counts[k] - w->held_out);
    for (size_t k = 0, first = 0; k < w->experts; first += counts[k++])
        for (size_t i = counts[k] - w->held_out; i < counts[k]; i++)
            x->held_out[x->n_held_out++] = first + i;
}

int examples_select(struct examples *x, const struct samples *s, const struct example_selection *w,
                    struct error *e)
{
    size_t *counts = mem_alloc(w->experts, sizeof *counts);
    int failed = 0;
    x->list = mem_alloc(s->n, sizeof *x->list);
    x->tasks = mem_alloc(s->n, sizeof *x->tasks);
    x->sample_numbers = mem_alloc(s->n, sizeof *x->sample_numbers);
    for (size_t i = 0; i < s->n && !failed; i++) {
        const char *task = s->tasks[s->samples[i].task];
        if (expert_of(w, task) < 0)
            failed = sample_error(&s->samples[i], e,
                                  "the stream has no model %s (--task %s=MODEL names another)",
                                  task, task);
    }
    for (size_t k = 0; k < w->experts && !failed; k++)
        failed = choose_of_expert(x, s, k, w, &counts[k], e);
    if (!failed)
        set_order(x, counts, w);
    free(counts);
    return failed;
}

static void share(struct examples *x, size_t n, const size_t *which, size_t count, size_t own)
{
    for (size_t i = n; i-- > 0;) /* where one comes several times the first place counts */
        x->list[which[i]].on_other_rank = i % count != own;
}

void examples_assign_to_ranks(struct examples *x, size_t count, size_t own)
{
    share(x, x->n_order, x->order, count, own);
    share(x, x->n_held_out, x->held_out, count, own);
}

void examples_free(struct examples *x)
{
    free(x->list);
    free(x->tasks);
    free(x->sample_numbers);
    free(x->order);
    free(x->held_out);
    *x = (struct examples){0};
}
