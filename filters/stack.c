/* stack: concatenate layer ranges, or streams of different tensors
 *
 *     stack <(unpack math[0:2]) <(unpack --first-layer 2 chat[1:3]) | pack --like math stacked/
 *     stack <(tv-extract base[0:2] math[0:2] | trim --density 0.4 | combine | add-base base[0:2]) \
 *         <(unpack --first-layer 2 chat[1:3]) | ...          a different method for each range
 *     stack --disjoint <(unpack math | pick --drop '*mlp*') <(unpack code | pick '*mlp*') | ...
 *
 * The result has the layers of all streams; the layers of a stream follow those of the stream
 * before it. Tensors outside the layers are in every stream: embeddings (names with "embed", wte or
 * wpe), what vision towers have before their layers, and other stacks of layers (a vision tower)
 * are taken from the first stream, all others from the last. With --disjoint the result has all
 * tensors of all streams, in that order; no two streams may have a tensor in common. "-" is
 * standard input.
 */
#include "filter.h"
#include "layer_slice.h"
#include "name_index.h"
#include "tensor_name.h"
#include "stream_inputs.h"

#include <stdlib.h>
#include <string.h>

struct options {
    const char *stack;
    bool disjoint;
};

static const struct option_row rows[] = {
    {"stack", OPTION_STRING, offsetof(struct options, stack), "PREFIX",
     .help = "concatenate the layers whose names begin with PREFIX (default: the stack of layers "
             "whose numbers are consecutive across the streams)"},
    {"disjoint", OPTION_FLAG, offsetof(struct options, disjoint),
     .help = "take all tensors of all streams, which have none in common"},
    {0}};

/* The input tensor of a tensor of the result. */
struct origin {
    size_t input, index;
};

/* The prefix of the names of a stack of layers. */
struct prefix {
    const char *name;
    size_t length;
};

struct stack {
    struct stream_inputs streams;
    struct prefix prefix;   /* of the stack whose layers are concatenated; no name: --disjoint */
    struct origin *origins; /* [tensor] */
};

/* ---- the stack ------------------------------------------------------------------------------- */

/* Finds the first and the last layer of a stack in a stream; false if it has none. */
static bool find_first_and_last_layer(const struct header *h, const struct prefix *p, long *first,
                                      long *last)
{
    *first = *last = -1;
    for (size_t i = 0; i < h->n_tensors; i++) {
        long layer = tensor_name_layer_in_stack(h->tensors[i].name, p->name, p->length);
        if (layer < 0)
            continue;
        *first = *first < 0 || layer < *first ? layer : *first;
        *last = layer > *last ? layer : *last;
    }
    return *last >= 0;
}

/* Checks that the numbers of the layers are consecutive across the streams. */
static int check_consecutive_layer_numbers(const struct stream_inputs *all, const struct prefix *p,
                                           struct error *e)
{
    long end = -1, first, last;
    for (size_t i = 0; i < all->n; i++) {
        if (!find_first_and_last_layer(stream_inputs_header(all, i), p, &first, &last))
            return error_set(e, "%s has no layers under %.*s", all->inputs[i].path, (int)p->length,
                             p->name);
        if (i > 0 && first != end + 1)
            return error_set(e,
                             "%s begins with layer %ld of %.*s; expected layer %ld (set "
                             "--first-layer of its source)",
                             all->inputs[i].path, first, (int)p->length, p->name, end + 1);
        end = last;
    }
    return 0;
}

/* Finds the stack to concatenate; with --stack, among those that `wanted` is the prefix of. */
static int find_layer_stack_prefix(struct stack *st, const char *wanted, struct error *e)
{
    const struct header *h = stream_inputs_header(&st->streams, 0);
    struct prefix found = {0};
    error_set(e, wanted ? "%s has no layers under %s" : "%s has no layers",
              st->streams.inputs[0].path, wanted);
    for (size_t i = 0; i < h->n_tensors; i++) {
        struct prefix p = {.name = h->tensors[i].name};
        if (tensor_name_layer(p.name, &p.length) < 0 ||
            (wanted && !tensor_name_is_stack_prefix(p.name, p.length, wanted)) ||
            (found.name && tensor_name_layer_in_stack(p.name, found.name, found.length) >= 0) ||
            check_consecutive_layer_numbers(&st->streams, &p, e))
            continue;
        if (found.name && st->streams.n > 1)
            return error_set(e, "several stacks of layers have consecutive numbers; choose one "
                                "with --stack");
        found = p;
    }
    st->prefix = found;
    return found.name ? 0 : -1;
}

/* ---- the manifest ---------------------------------------------------------------------------- */

/* True if this tensor is taken from input i. */
static bool is_taken_from_input(const struct stack *st, size_t i, const char *name)
{
    return !st->prefix.name ||
           layer_slice_contributes_tensor(name, st->prefix.name, st->prefix.length, i == 0,
                                          i == st->streams.n - 1);
}

static size_t count_tensors_of_all_inputs(const struct stream_inputs *all)
{
    size_t n = 0;
    for (size_t i = 0; i < all->n; i++)
        n += stream_inputs_header(all, i)->n_tensors;
    return n;
}

/* Renumbers the layers by their positions in the result, for the rules of later stages. */
static void renumber_layers(const struct stack *st, struct header *h)
{
    const struct prefix *p = &st->prefix;
    long first, last;
    find_first_and_last_layer(h, p, &first, &last);
    for (size_t i = 0; i < h->n_tensors; i++) {
        long layer = tensor_name_layer_in_stack(h->tensors[i].name, p->name, p->length);
        if (layer < 0)
            continue;
        h->tensors[i].layer = layer - first;
        h->tensors[i].layers = last - first + 1;
    }
}

/* --disjoint */
static int check_no_common_tensors(const struct stack *st, const struct header *h, struct error *e)
{
    const struct stream_input *inputs = st->streams.inputs;
    struct arena a = {0};
    struct name_index names = {0};
    int failed = 0;
    for (size_t t = 0; t < h->n_tensors && !failed; t++) {
        size_t same = name_index_add(&names, h->tensors[t].name, t, &a);
        if (same != t)
            failed =
                error_set(e, "%s and %s both have tensor %s", inputs[st->origins[same].input].path,
                          inputs[st->origins[t].input].path, h->tensors[t].name);
    }
    arena_free(&a);
    return failed;
}

static int check_options(const struct stage *s, struct error *e)
{
    const struct options *o = s->options;
    return o->disjoint && o->stack ? error_set(e, "only one of --stack and --disjoint can be given")
                                   : 0;
}

static int open_stack(struct stage *s, struct header *h, struct error *e)
{
    const struct options *o = s->options;
    struct stack *st = s->data = mem_alloc(1, sizeof *st);
    const struct stream_inputs *all = &st->streams;
    if (stream_inputs_open(&st->streams, s, h, true, e) ||
        (!o->disjoint && find_layer_stack_prefix(st, o->stack, e)))
        return -1;
    h->tensors = arena_alloc(&h->arena, count_tensors_of_all_inputs(all), sizeof *h->tensors);
    st->origins = mem_alloc(count_tensors_of_all_inputs(all), sizeof *st->origins);
    for (size_t i = 0; i < all->n; i++)
        for (size_t t = 0; t < stream_inputs_header(all, i)->n_tensors; t++) {
            if (!is_taken_from_input(st, i, stream_inputs_header(all, i)->tensors[t].name))
                continue;
            h->tensors[h->n_tensors] = stream_inputs_copy_tensor(all, i, t, &h->arena);
            h->tensors[h->n_tensors].input_index = h->n_tensors;
            st->origins[h->n_tensors++] = (struct origin){i, t};
        }
    if (o->disjoint)
        return check_no_common_tensors(st, h, e);
    renumber_layers(st, h);
    return 0;
}

/* ---- payload --------------------------------------------------------------------------------- */

static struct stream_input *input_of_current_tensor(const struct job *job)
{
    struct stack *st = job->stage->data;
    return &st->streams.inputs[st->origins[job->index].input];
}

static int begin_tensor(struct job *job, struct error *e)
{
    struct stack *st = job->stage->data;
    const struct origin *from = &st->origins[job->index];
    if (stream_inputs_seek_tensor(&st->streams, from->input, from->index, 0, job->arena, e))
        return -1;
    stream_inputs_copy_vectors(input_of_current_tensor(job), job->out);
    job->out->unknown_keys = input_of_current_tensor(job)->current_tensor.unknown_keys;
    return PLAN_TRANSFORM;
}

static int fill_block(const struct job *job, struct block *b, struct error *e)
{
    return stream_inputs_read_block(input_of_current_tensor(job), b, e);
}

static int rewind_stack(struct stage *s, struct error *e)
{
    struct stack *st = s->data;
    return stream_inputs_rewind(&st->streams, s, e);
}

static int close_stack(struct stage *s, bool ok, struct error *e)
{
    struct stack *st = s->data;
    int failed = stream_inputs_close(&st->streams, s, ok, e);
    free(st->origins);
    free(st);
    return failed;
}

const struct filter filter_stack = {
    .name = "stack",
    .summary = "Concatenate layer ranges, or streams of different tensors",
    .step = STEP_STREAMS,
    .operands = "STREAM...",
    .notes = "- is standard input. Embeddings and other stacks of layers come from the first "
             "stream, all other tensors outside the layers from the last. --disjoint puts together "
             "streams that have no tensor in common.\n\n"
             "  stack <(unpack math[0:2]) <(unpack --first-layer 2 chat[1:3]) |\n"
             "      pack --like math stacked/",
    .options_size = sizeof(struct options),
    .options = rows,
    .min_operands = 1,
    .max_operands = SIZE_MAX,
    .role = ROLE_SOURCE,
    .operands_are_files = true,
    .check_options = check_options,
    .open = open_stack,
    .begin_tensor = begin_tensor,
    .source.fill_block = fill_block,
    .source.rewind = rewind_stack,
    .close = close_stack,
};
