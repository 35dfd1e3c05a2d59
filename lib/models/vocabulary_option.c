#include "vocabulary_option.h"

#include "stage.h"
#include "tensor_name.h"

#include <string.h>

#define OPTION "--vocabulary="

static bool has_vocabulary_rows(const struct tensor *t)
{
    return t->rank == 2 &&
           (tensor_name_is_token_embedding(t->name) || tensor_name_is_lm_head(t->name));
}

/* The vocabularies in a history. */
struct recorded_vocabularies {
    bool any, same; /* same: one is that of the argument */
};

static void find_recorded_vocabularies(const struct history *h, const char *argument,
                                       struct recorded_vocabularies *found)
{
    for (size_t i = 0; i < h->n; i++) {
        const struct history_step *step = &h->steps[i];
        for (size_t j = 0; j < step->n_arguments; j++) {
            found->any |= strncmp(step->arguments[j], OPTION, strlen(OPTION)) == 0;
            found->same |= strcmp(step->arguments[j], argument) == 0;
        }
        for (size_t j = 0; j < step->n_parents; j++)
            find_recorded_vocabularies(&step->parents[j], argument, found);
    }
}

/* Has a step of the stream's own history moved rows? The history of a model that a step has read
 * says nothing: a checkpoint has its own tokenizer. */
static bool has_vocabulary_step(const struct history *h)
{
    bool has = false;
    for (size_t i = 0; i < h->n && !has; i++) {
        const struct history_step *step = &h->steps[i];
        bool reads_models =
            strcmp(step->tool, "unpack") == 0 || strcmp(step->tool, "tv-extract") == 0;
        for (size_t j = 0; j < step->n_arguments; j++)
            has |= strncmp(step->arguments[j], OPTION, strlen(OPTION)) == 0;
        for (size_t j = 0; !reads_models && j < step->n_parents; j++)
            has |= has_vocabulary_step(&step->parents[j]);
    }
    return has;
}

/* Have the rows of the stream been moved to the vocabulary, which the history has as `argument`? */
static int check_stream(const struct header *h, const struct vocabulary *v, const char *argument,
                        struct error *e)
{
    struct recorded_vocabularies found = {0};
    find_recorded_vocabularies(&h->history, argument, &found);
    if (found.any && !found.same)
        return error_set(e, "the vocabulary is not that of the stream; give the same --vocabulary "
                            "to unpack or tv-extract");
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct tensor *t = &h->tensors[i];
        if (has_vocabulary_rows(t) && t->shape[0] != v->n_rows)
            return error_set(e,
                             "tensor %s has %llu rows, but the vocabulary %zu; give the same "
                             "--vocabulary to unpack or tv-extract",
                             t->name, (unsigned long long)t->shape[0], v->n_rows);
    }
    return 0;
}

static bool has_moved_rows(const struct header *h)
{
    bool has_rows = false;
    for (size_t i = 0; i < h->n_tensors; i++)
        has_rows |= has_vocabulary_rows(&h->tensors[i]);
    return has_rows && has_vocabulary_step(&h->history);
}

int vocabulary_option_check_not_needed(const struct stage *s, struct error *e)
{
    return has_moved_rows(s->in)
               ? error_set(e, "rows of the stream have been moved to a vocabulary; give the same "
                              "--vocabulary as to unpack or tv-extract")
               : 0;
}

int vocabulary_option_open(struct stage *s, const char *text, struct vocabulary **v,
                           struct error *e)
{
    *v = NULL;
    if (!text)
        return 0;
    *v = vocabulary_new(text, s->filter->role == ROLE_SOURCE ? s->filter->name : NULL, e);
    if (!*v)
        return -1;
    const char *recorded = vocabulary_request_format(&(*v)->request, false, &s->arena);
    const char *argument = arena_printf(&s->arena, OPTION "%s", recorded);
    stage_record_option(s, argument);
    return s->in ? check_stream(s->in, *v, argument, e) : 0;
}
