#include "training_samples.h"

#include "base_and_experts.h"
#include "mem.h"

#include <stdlib.h>
#include <string.h>

/* ---- the expert of a task -------------------------------------------------------------------- */

/* The first `length` letters of `task` name a task of this expert. */
struct task_assignment {
    const char *task;
    size_t length, expert;
};

/* The result of a selection. */
struct selector {
    const struct training_sample_selection *selection;
    const struct samples *samples;
    size_t n_assignments;
    struct task_assignment *assignments;
};

/* TASK=MODEL */
static int parse_assignment(const struct base_and_experts *experts, const char *text,
                            struct task_assignment *a, struct error *e)
{
    const char *name = strchr(text, '=');
    if (!name)
        return error_set(e, "--task: expected TASK=MODEL, found \"%s\"", text);
    long k = base_and_experts_find_by_name(experts, name + 1, strlen(name + 1));
    if (k < 0)
        return error_set(e, "--task: there is no expert %s", name + 1);
    *a = (struct task_assignment){text, (size_t)(name - text), (size_t)k};
    return 0;
}

static int check_task_has_samples(const struct samples *s, const struct task_assignment *a,
                                  struct error *e)
{
    for (size_t i = 0; i < s->n_tasks; i++)
        if (strlen(s->tasks[i]) == a->length && memcmp(s->tasks[i], a->task, a->length) == 0)
            return 0;
    return error_set(e, "--task: there are no samples of the task %.*s", (int)a->length, a->task);
}

static int parse_assignments(struct selector *s, struct error *e)
{
    const struct string_list *tasks = s->selection->tasks;
    s->assignments = mem_alloc(tasks->n, sizeof *s->assignments);
    for (size_t i = 0; i < tasks->n; i++)
        if (parse_assignment(s->selection->experts, tasks->items[i], &s->assignments[i], e) ||
            check_task_has_samples(s->samples, &s->assignments[i], e))
            return -1;
    s->n_assignments = tasks->n;
    return 0;
}

/* -1: none. */
static long find_expert_of_task(const struct selector *s, const char *task)
{
    size_t length = strlen(task);
    for (size_t i = 0; i < s->n_assignments; i++) {
        const struct task_assignment *a = &s->assignments[i];
        if (a->length == length && memcmp(a->task, task, length) == 0)
            return (long)a->expert;
    }
    return base_and_experts_find_by_name(s->selection->experts, task, length);
}

/* ---- selection ------------------------------------------------------------------------------- */

static int set_compared_positions(struct training_sample *x, const struct sample *s,
                                  bool response_only, struct error *e)
{
    x->first_position = 0;
    x->last_position = s->n - 1;
    if (!response_only || s->prompt_tokens == 0)
        return 0;
    if (s->prompt_tokens == s->n)
        return sample_error(s, e,
                            "the sample has no response after its prompt (use --on all to compare "
                            "the prompt's positions)");
    x->first_position = s->prompt_tokens - 1;
    x->last_position = s->n - 2;
    return 0;
}

static int add_training_sample(struct training_samples *x, const struct selector *w,
                               const struct sample *s, size_t expert, size_t number,
                               struct error *e)
{
    struct training_sample *added = &x->list[x->n];
    *added = (struct training_sample){.ids = s->ids,
                                      .n = s->n,
                                      .expert = expert,
                                      .images = s->images,
                                      .all_images = w->samples->images.images};
    x->tasks[x->n] = w->samples->tasks[s->task];
    x->sample_numbers[x->n++] = number;
    x->longest = s->n > x->longest ? s->n : x->longest;
    return set_compared_positions(added, s, w->selection->response_only, e);
}

/* Adds the first samples of expert k; `count` receives how many. */
static int add_samples_of_expert(struct training_samples *x, const struct selector *w, size_t k,
                                 size_t *count, struct error *e)
{
    const struct training_sample_selection *selection = w->selection;
    const struct samples *s = w->samples;
    const char *name = selection->experts->names[k];
    *count = 0;
    for (size_t i = 0; i < s->n && *count < selection->per_task; i++)
        if (find_expert_of_task(w, s->tasks[s->samples[i].task]) == (long)k &&
            add_training_sample(x, w, &s->samples[i], k, (*count)++, e))
            return -1;
    if (*count == 0)
        return error_set(e, "there are no samples for %s (name its task with --task TASK=%s)", name,
                         name);
    if (*count <= selection->held_out)
        return error_set(e, "%s has %zu samples; --validate %zu would leave none to learn from",
                         name, *count, selection->held_out);
    return 0;
}

static int check_tasks_have_experts(const struct selector *w, struct error *e)
{
    const struct samples *s = w->samples;
    for (size_t i = 0; i < s->n; i++) {
        const char *task = s->tasks[s->samples[i].task];
        if (find_expert_of_task(w, task) < 0)
            return sample_error(&s->samples[i], e,
                                "there is no expert %s (assign the task with --task %s=MODEL)",
                                task, task);
    }
    return 0;
}

/* for i: for k: sample i mod n_k of expert k, without the n_held_out last ones of each expert. */
static void set_round_robin_order(struct training_samples *x, const size_t *counts,
                                  const struct training_sample_selection *w)
{
    size_t most = 0, K = w->experts->n;
    for (size_t k = 0; k < K; k++)
        most = counts[k] > most ? counts[k] : most;
    most -= w->held_out;
    x->order = mem_alloc(most * K, sizeof *x->order);
    x->held_out = mem_alloc(w->held_out * K, sizeof *x->held_out);
    for (size_t i = 0; i < most; i++)
        for (size_t k = 0, first = 0; k < K; first += counts[k++])
            x->order[x->n_order++] = first + i % (counts[k] - w->held_out);
    for (size_t k = 0, first = 0; k < K; first += counts[k++])
        for (size_t i = counts[k] - w->held_out; i < counts[k]; i++)
            x->held_out[x->n_held_out++] = first + i;
}

int training_samples_select(struct training_samples *x, const struct samples *s,
                            const struct training_sample_selection *selection, struct error *e)
{
    struct selector w = {.selection = selection, .samples = s};
    size_t K = selection->experts->n, *counts = mem_alloc(K, sizeof *counts);
    x->list = mem_alloc(s->n, sizeof *x->list);
    x->tasks = mem_alloc(s->n, sizeof *x->tasks);
    x->sample_numbers = mem_alloc(s->n, sizeof *x->sample_numbers);
    int failed = parse_assignments(&w, e) || check_tasks_have_experts(&w, e);
    for (size_t k = 0; k < K && !failed; k++)
        failed = add_samples_of_expert(x, &w, k, &counts[k], e);
    if (!failed)
        set_round_robin_order(x, counts, selection);
    free(w.assignments);
    free(counts);
    return failed ? -1 : 0;
}

/* Backwards, so that the first occurrence decides about a sample that occurs several times. */
static void assign_samples_to_ranks(struct training_samples *x, size_t n, const size_t *indices,
                                    size_t count, size_t rank)
{
    for (size_t i = n; i-- > 0;)
        x->list[indices[i]].on_other_rank = i % count != rank;
}

void training_samples_assign_to_ranks(struct training_samples *x, size_t count, size_t rank)
{
    assign_samples_to_ranks(x, x->n_order, x->order, count, rank);
    assign_samples_to_ranks(x, x->n_held_out, x->held_out, count, rank);
}

void training_samples_free(struct training_samples *x)
{
    free(x->list);
    free(x->tasks);
    free(x->sample_numbers);
    free(x->order);
    free(x->held_out);
    *x = (struct training_samples){0};
}
