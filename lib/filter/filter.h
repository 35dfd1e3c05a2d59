/* A filter's life: what a filters/NAME.c provides, and what the library does for it.
 *
 * A filter is one descriptor, `const struct filter filter_NAME`. The runner calls its functions
 * (runner.h says in which order); they return 0, or -1 with one sentence in the error. What they
 * are given belongs to the runner. What a filter keeps of one tensor hangs on job->state, mostly in
 * memory of job->arena, which comes zeroed and goes with the tensor; what it keeps for the whole
 * run hangs on stage->data and is freed in `close`. Nothing stands in variables of the file:
 * several tensors, and several stages of one filter, are at work at once. */
#ifndef TV_FILTER_H
#define TV_FILTER_H

#include "error.h"
#include "header.h"
#include "vector_math.h"
#include "number.h"
#include "tensor_rules.h"

#include <stdio.h>

/* ---- options ---------------------------------------------------------------------------- */

enum option_kind {
    OPTION_FLAG,   /* bool */
    OPTION_NUMBER, /* double, in `range` */
    OPTION_COUNT,  /* uint64_t, decimal */
    OPTION_SIZE,   /* uint64_t bytes: 64K, 512M, 2G (powers of 1024) */
    OPTION_STRING, /* const char * */
    OPTION_FILE,   /* const char *, a path; the history says the file's hash */
    OPTION_CHOICE, /* int: index into `choices` ("all|agreeing"), -1 if not given and no default */
    OPTION_DTYPE,  /* enum dtype, floating */
    OPTION_RULES,  /* struct tensor_rules, values in `range`; may be repeated */
    OPTION_SELECTORS, /* struct tensor_rules without numbers, MODEL, MODEL/GLOB or /GLOB; may be
                         repeated */
    OPTION_STRINGS    /* struct string_list; may be repeated */
};

struct string_list {
    size_t n;
    const char **items;
};

/* A row of the table that parses the options, prints the usage, and writes the history. */
struct option_row {
    const char *name;
    enum option_kind kind;
    size_t offset;        /* of the field in the filter's options */
    const char *argument; /* "D", "FILE", ...; NULL for a flag */
    const char *help;
    struct range range;  /* NUMBER, RULES */
    const char *choices; /* CHOICE */
    const char *preset;  /* the default, as text; NULL: none */
    bool required;
    bool not_in_history; /* does not change the result: left out of the history */
    /* RULES give a number per vector (stage_rules_vector_value), or per tensor
     * (stage_rules_tensor_value): then they name no models, and with `everywhere` each floating
     * tensor must have one. */
    bool per_tensor, every_tensor;
};

/* ---- blocks and jobs -------------------------------------------------------------------- */

/* A stretch of one tensor, K vectors side by side. Floating payload is F32 while a filter has it
 * (unless the filter is `raw`), rounded to the wire's dtype afterwards; other payload stays as it
 * travels. A transform writes into data[k]; a join leaves its result in data[0]; block_keep_vectors
 * drops vectors. */
struct block {
    size_t index;    /* block number in the tensor */
    size_t first, n; /* flat index of its first element; elements */
    size_t columns;  /* elements of a row; a block is whole rows unless a row is longer than it */
    size_t n_vectors;
    void **data;        /* n elements each */
    enum dtype *dtypes; /* what data[k] holds now */
    size_t *buffer_of;  /* the runner's: which pair of buffers vector k has */
};

static inline float *block_floats(const struct block *b, size_t k)
{
    return (float *)b->data[k];
}

/* Leaves the n vectors which[0] < which[1] < ... of a block. */
void block_keep_vectors(struct block *b, size_t n, const size_t *which);

/* What every filter can be told. */
struct common_options {
    uint64_t threads; /* 0: the default (1 in a pipe, all cores in tv run) */
    uint64_t memory;  /* bytes held before spilling to a file */
    const char *spool;
    bool allow_nonfinite;
    struct string_list include, exclude; /* element-wise filters: globs of tensor names */
};

/* One stage of a pipeline: a filter with its options. */
struct stage {
    const struct filter *filter;
    const char *name; /* under which it speaks: the filter's; or, at an end of the chain that reads
                         or writes streams, that of the stage which it serves */
    struct common_options common;
    void *options;
    bool *given; /* by option row: did the user give it? */
    struct string_list operands;
    struct string_list
        recorded_operands;   /* what the history says of the operands, if they name files */
    size_t n_parents;        /* a source that reads streams: their histories, which the step */
    struct history *parents; /* that the library adds will hold; set in open */
    const struct header *in, *out; /* before and after open; `in` is NULL for a source */
    void *data;                    /* the filter's own, for the whole run */
    bool in_model_rounds;          /* scope model: its rounds are not over yet */
    int exit_status;               /* exit status of a run that went well; tv-diff, check */
    bool stop_after_open;          /* sinks, set in open: no payload is wanted, the run ends here */
    bool lacks_checksums;          /* sources: the stream came without all its checksums */
    uint64_t bytes_read, bytes_written; /* of files, by a stage that opens its own */
    struct runner *runner;
    struct arena arena; /* of options and operands */
};

/* One tensor passing one stage. */
struct job {
    struct stage *stage;
    size_t index;            /* position in the manifest of stage->in (sources: of stage->out) */
    const struct tensor *in; /* as the stage before sends it, with weights; NULL for a source */
    struct tensor *out;      /* as this stage sends it: structure from stage->out, weights and
                                attributes from `in`; begin and decide may change them */
    struct arena *arena;     /* for state, and for what `out` points to; goes with the tensor. Not
                                for observe, fill, transform, consume: they may run side by side */
    void *state;             /* the filter's own, for this tensor */
    size_t work_size;        /* bytes of a work area for observe; set in begin and decide */
    size_t sample_elements;  /* elements of each block that the next round wants, for a sample;
                     0: all. Set in begin and decide. It may see more: whole rows */
};

/* What `begin` says it wants with a tensor. */
enum plan {
    PLAN_TRANSFORM,    /* transform blocks, having seen none */
    PLAN_OBSERVE,      /* observe all blocks first; decide may ask for another round */
    PLAN_PASS_THROUGH, /* leave the payload alone */
    PLAN_REDUCE        /* sinks: observe and merge in place of consume */
};

enum verdict { VERDICT_DONE = 0, VERDICT_AGAIN = 1 };

enum role { ROLE_SOURCE, ROLE_FILTER, ROLE_SINK };

/* How much a filter must see before it may write. A row filter never gets a row cut in two (the
 * runner refuses rows above 2^20 elements). */
enum scope { SCOPE_BLOCK, SCOPE_ROW, SCOPE_TENSOR, SCOPE_MODEL };

struct filter {
    const char *name;     /* "trim" */
    const char *summary;  /* one line, in the imperative, without a full stop */
    const char *operands; /* "BASE EXPERT..." for the usage; NULL: none */
    const char *notes;    /* more for --help: formula, example; may be NULL */
    size_t options_size;
    const struct option_row *options; /* ended by a row without a name */
    size_t min_operands, max_operands;
    /* Operands that are rules: a row of kind RULES or WEIGHT_KINDS, named as messages call them. */
    const struct option_row *operand_row;
    int kinds; /* of streams it has a meaning for: KIND_... or-ed; 0 for a source */
    enum role role;
    bool element_wise; /* gets --include and --exclude; tensors that are not floating pass */
    enum scope scope;  /* the scope, or where that depends on options, `scope` says it */

    /* What only some set: sources, sinks, filters that look at no numbers. */
    bool source_with_operands; /* a source with operands, a filter without (tv-extract) */
    bool operands_are_files;   /* the history says what open recorded instead of them */
    /* Sinks: the source that reads the first operand (NULL where none can be) instead of standard
     * input. */
    const struct filter *(*operand_source_filter)(const char *operand, struct error *);
    /* The filter that this process's program is instead, by where it was started; NULL: this one.
     */
    const struct filter *(*filter_for_process)(void);
    bool raw_payload;          /* payload as it travels, never widened to F32 */
    bool no_history_step;      /* adds nothing to the history */
    bool accepts_nonfinite;    /* NaN and infinity may come, whatever the options say */
    bool only_drops_elements;  /* transform leaves an element alone or makes it 0 */
    bool consume_in_any_order; /* sinks: consume may come in any order, on any thread */
    int failure_status;        /* exit status of a failed run; 0: 1 */

    /* Checks options and header, and alone changes the manifest. A source fills in an empty
     * header. `header->tensors[i].origin` is i on entry; tensors are dropped with
     * header_filter_tensors. Rules in options and operands have been checked before. */
    int (*open)(struct stage *, struct header *, struct error *);
    /* The scope under these options; NULL: always scope. */
    enum scope (*choose_scope)(const struct stage *);
    /* Makes job->state; returns an enum plan, or -1. A source may complete job->out. */
    int (*begin)(struct job *, struct error *);
    /* Sources: any block, on any thread, any number of times; one that has a `rewind` is asked in
     * stream order, once. */
    int (*fill)(const struct job *, struct block *, struct error *);
    /* Sinks: is tensor `index` of stage->in wanted, or (SIZE_MAX) one that was dropped on the way?
     * What is not wanted is not computed. NULL: all are. */
    bool (*wants_tensor)(const struct stage *, size_t index);
    /* Sources: fill hashes what it reads, so that payload which no stage needs is read all the
     * same. */
    bool hashes_payload;
    /* Sources of a stream, both or neither; the runner then reads the next tensor on a thread of
     * its own. Prepares the source for stop_reading; -1 if it cannot be stopped. */
    int (*make_stoppable)(struct stage *);
    /* Makes a fill that waits for input fail; called from another thread. */
    void (*stop_reading)(struct stage *);
    /* Sinks of a stream: has the reader of the output gone? */
    bool (*reader_gone)(const struct stage *);
    /* Sinks of a stream: when a run fails, close gets its error to pass on, even if open was not
     * called. */
    bool reports_failed_run;
    /* Back to the first tensor; also called once before it where there will be several passes. */
    int (*rewind)(struct stage *, struct error *);
    int (*observe)(const struct job *, const struct block *, void *work, struct error *);
    int (*merge)(struct job *, const struct block *, void *work, struct error *);
    /* After a round, and right after a begin that asked for none. With scope model: after the last
     * tensor of a round, job->in NULL; never per tensor. Returns an enum verdict, or -1. */
    int (*decide)(struct job *, struct error *);
    int (*transform)(const struct job *, struct block *, struct error *);
    int (*consume)(struct job *, const struct block *, struct error *);
    /* After the tensor's last block: frees what job->arena does not, prints what was found. `ok` is
     * false when the run has failed or the tensor was only passing by for a later stage's round. */
    int (*end)(struct job *, bool ok, struct error *);
    /* Frees stage->data; publishes when `ok`. Sources are closed first. Called whenever open was,
     * even if that failed. */
    int (*close)(struct stage *, bool ok, struct error *);
};

/* ---- what the library offers to a filter ------------------------------------------------- */

/* The name that the globs of rules are matched against: the tensor's in the vector's own model,
 * whose layers may be numbered otherwise; outside the layers the output's, for there another tensor
 * may stand in (a head's embedding). */
const char *stage_rules_tensor_name(const struct tensor *t, const struct vector *v);
/* The number that rules give a vector, else `missing`: globs match the tensor's name in the
 * vector's own model. */
double stage_rules_vector_value(const struct stage *s, const struct tensor_rules *r,
                                const struct tensor *t, const struct vector *v, double missing);
/* The number that rules give a tensor, else `missing`: globs match its output name. */
double stage_rules_tensor_value(const struct tensor_rules *r, const struct tensor *t,
                                double missing);
/* For rules per vector that stand in no row: one that names a model which the stream does not have
 * is an error. */
int stage_rules_check_models(const struct tensor_rules *r, const char *what, const struct header *h,
                             struct error *e);
/* Do --include and --exclude ask this stage to leave the tensor alone? */
bool stage_excludes_tensor(const struct stage *s, const struct tensor *t);
/* For a source, and for a sink with files: what the history says instead of an operand. */
void stage_record_operand(struct stage *s, const char *text);

/* ---- command lines --------------------------------------------------------------------------- */

/* argv as a stage: options parsed, checked, defaults filled in. Prints --help and usage errors
 * itself and exits (0 and 2). */
struct stage *command_line_parse(const struct filter *f, int argc, char **argv);
struct stage *stage_new(const struct filter *f);
/* Gives an option of the filter's own a value, as its command line would. */
int stage_set_option(struct stage *s, const struct option_row *o, const char *text,
                     struct error *e);
void stage_free(struct stage *s);
/* Before open: do the rules among options and operands name models of the stream, and give numbers
 * where they must? */
int stage_rules_check_all(struct stage *s, const struct header *h, struct error *e);
/* Options and operands that change the result, as words of a command line. */
struct string_list stage_history_arguments(struct stage *s, struct arena *a);

#endif
