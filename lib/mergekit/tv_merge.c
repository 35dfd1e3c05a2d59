#include "tv_merge.h"

#include "command_line.h"
#include "stage.h"
#include "standard_output.h"
#include "preflight.h"
#include "checkpoint_writer.h"
#include "spool.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- options --------------------------------------------------------------------------------- */

struct options {
    uint64_t seed, mergekit_threads;
    bool check, force, resume, bug_compatible, paper, no_tokenizer, quiet, ignored;
    int missing, embed, mismatch;
    struct string_list only;
    uint64_t shards;
    const char *shard_size, *part, *report, *out, *cache, *ignored_text;
};

#define FIELD(f) offsetof(struct options, f)
#define IGNORED(name)                                                                              \
    {                                                                                              \
        name, OPTION_FLAG, FIELD(ignored), NULL, .help = "no effect"                               \
    }
#define IGNORED_PAIR(name) IGNORED(name), IGNORED("no-" name)
#define IGNORED_VALUE(name)                                                                        \
    {                                                                                              \
        name, OPTION_STRING, FIELD(ignored_text), "X", .help = "no effect"                         \
    }

/* Ours, then those of mergekit-yaml and mergekit-multi. */
static const struct option_row rows[] = {
    {"check", OPTION_FLAG, FIELD(check),
     .help = "only look whether the merge would work, and how much it would write"},
    {"force", OPTION_FLAG, FIELD(force), .help = "replace OUT if it is there"},
    {"paper", OPTION_FLAG, FIELD(paper),
     .help = "follow the papers where mergekit does not: DARE and DELLA divide by the probability, "
             "TIES trims over the whole model, signs are elected without weights"},
    {"bug-compatible", OPTION_FLAG, FIELD(bug_compatible),
     .help = "breadcrumbs: drop all of a tensor whose share of outliers is below one element, as "
             "mergekit does"},
    {"missing", OPTION_CHOICE, FIELD(missing), "base|skip",
     .help = "a tensor that a model lacks: the first model's stands in, or that model is left out "
             "of the tensor",
     .choices = "base|skip"},
    {"embed", OPTION_CHOICE, FIELD(embed), "truncate|base",
     .help = "an embedding or head of another size: cut it to what is common, or take the first "
             "model's",
     .choices = "truncate|base"},
    {"mismatch", OPTION_CHOICE, FIELD(mismatch), "drop",
     .help = "another tensor of another shape: leave that model out of it", .choices = "drop"},
    {"only", OPTION_STRINGS, FIELD(only), "GLOB",
     .help = "merge only tensors whose name matches, into a .safetensors file; may be repeated"},
    {"random-seed", OPTION_COUNT, FIELD(seed), "S", .help = "seed of DARE and DELLA (default 0)",
     .default_value = "0"},
    {"out-shard-size", OPTION_STRING, FIELD(shard_size), "N",
     .help = "parameters in one file, such as 5B or 200M"},
    {"shards", OPTION_COUNT, FIELD(shards), "N",
     .help = "at most N files, the largest as small as can be"},
    {"part", OPTION_STRING, FIELD(part), "I/N",
     .help = "make part I of N and leave it beside OUT, for tv finish; implies --shards=N"},
    {"resume", OPTION_FLAG, FIELD(resume),
     .help =
         "keep finished files beside OUT, and go on from those of a merge that was interrupted"},
    {"report", OPTION_STRING, FIELD(report), "FILE",
     .help = "write what the merge cost (time, bytes, memory, by stage) to FILE, as JSON"},
    {"quiet", OPTION_FLAG, FIELD(quiet), .help = "show no progress"},
    {"copy-tokenizer", OPTION_FLAG, FIELD(ignored), .help = "copy a tokenizer (default)"},
    {"no-copy-tokenizer", OPTION_FLAG, FIELD(no_tokenizer), .help = "copy no tokenizer"},
    {"transformers-cache", OPTION_STRING, FIELD(cache), "DIR",
     .help = "where models named org/name are looked for"},
    {"num-threads", OPTION_COUNT, FIELD(mergekit_threads), "N", .help = "the same as --threads"},
    {"out-path", OPTION_STRING, FIELD(out), "OUT", .help = "the same as the operand"},
    IGNORED_PAIR("allow-crimes"),
    IGNORED_PAIR("cuda"),
    IGNORED_PAIR("low-cpu-memory"),
    IGNORED_PAIR("clone-tensors"),
    IGNORED_PAIR("trust-remote-code"),
    IGNORED_PAIR("lazy-unpickle"),
    IGNORED_PAIR("write-model-card"),
    IGNORED_PAIR("safe-serialization"),
    IGNORED("no-quiet"),
    IGNORED_PAIR("read-to-gpu"),
    IGNORED_PAIR("multi-gpu"),
    IGNORED_PAIR("async-write"),
    IGNORED_PAIR("lazy"),
    IGNORED("gpu-rich"),
    IGNORED("verbose"),
    IGNORED_VALUE("device"),
    IGNORED_VALUE("write-threads"),
    IGNORED_VALUE("lora-merge-cache"),
    IGNORED_VALUE("lora-merge-dtype"),
    IGNORED_VALUE("intermediate-dir"),
    {0}};
#undef FIELD

static const struct filter merge_command = {
    .name = "tv merge",
    .summary = "Merge models as a mergekit configuration says",
    .operands = "CONFIG.yml OUT",
    .notes =
        "OUT is a folder, a .safetensors file, a .tar or .tar.zst archive, or - for an archive "
        "on standard output. Of several documents that without a name is the result, else the "
        "last; others can be used as models, by their names.",
    .options_size = sizeof(struct options),
    .options = rows,
    .min_operands = 1,
    .max_operands = 2,
};

static const struct filter print_command = {
    .name = "tv from-yaml",
    .summary = "Print a mergekit configuration as a pipeline of filters",
    .operands = "CONFIG.yml [OUT]",
    .notes = "The options are those of tv merge; the pipeline gives the same bytes as that.",
    .options_size = sizeof(struct options),
    .options = rows,
    .min_operands = 1,
    .max_operands = 2,
};

/* mergekit's short options: -v, -j N, -I DIR, as long ones. */
static char **long_words(int *argc, char **argv)
{
    static const struct {
        char letter;
        const char *name;
    } letters[] = {{'j', "--num-threads"}, {'I', "--intermediate-dir"}};
    char **words = mem_alloc((size_t)*argc * 2 + 1, sizeof *words);
    int n = 0;
    for (int i = 0; i < *argc; i++) {
        const char *word = argv[i];
        words[n] = argv[i];
        if (i && word[0] == '-' && word[1] == 'v' && strspn(word + 1, "v") == strlen(word + 1))
            words[n] = (char *)"--verbose";
        for (size_t k = 0; i && k < sizeof letters / sizeof *letters; k++) {
            if (word[0] != '-' || word[1] != letters[k].letter)
                continue;
            words[n] = (char *)letters[k].name;
            if (word[2])
                words[++n] = argv[i] + 2;
        }
        n++;
    }
    *argc = n;
    return words;
}

/* One note for all options that were given and mean nothing here. */
static void tell_ignored(const struct stage *s)
{
    const char *text = "";
    struct arena a = {0};
    size_t n = 0;
    for (size_t i = 0; rows[i].name; i++) {
        bool ignored = rows[i].help && strcmp(rows[i].help, "no effect") == 0;
        if (!s->given[i] || !ignored)
            continue;
        text = arena_printf(&a, "%s%s--%s", text, n++ ? ", " : "", rows[i].name);
    }
    if (n)
        fprintf(stderr, "%s: note: %s ha%s no effect here\n", s->filter->name, text,
                n == 1 ? "s" : "ve");
    arena_free(&a);
}

/* "5B": mergekit's sizes, in powers of 1000. */
static int read_shard_size(const char *text, uint64_t *n, struct error *e)
{
    static const char units[] = "KMB";
    char *end = NULL;
    uint64_t scale = 1;
    errno = 0;
    if (isdigit((unsigned char)*text))
        *n = strtoull(text, &end, 10);
    const char *unit = end && *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    for (const char *u = units; unit && u <= unit; u++)
        scale *= 1000;
    if (!end || errno || end[unit != NULL] || *n == 0 || *n > UINT64_MAX / scale)
        return error_set(e, "--out-shard-size: \"%s\" is not a number of parameters (5B, 200M)",
                         text);
    *n *= scale;
    return 0;
}

static const char *choice_of(const char *choices, int i, struct arena *a)
{
    for (; i > 0; i--)
        choices = strchr(choices, '|') + 1;
    return i < 0 ? NULL : arena_copy_text_n(a, choices, strcspn(choices, "|"));
}

/* ---- both commands --------------------------------------------------------------------------- */

/* A command line, understood. */
struct task {
    struct stage *stage;
    const struct options *o;
    const char *out;
    struct merge_pipeline recipe;
    struct arena a;
};

static int fail(const struct task *t, const struct error *e, int status)
{
    const char *stage =
        e->stage[0] && strcmp(e->stage, t->stage->filter->name) != 0 ? e->stage : "";
    if (!e->printed)
        fprintf(stderr, "%s: %s%s%s\n", t->stage->filter->name, stage, *stage ? ": " : "", e->text);
    return status;
}

/* Of lines inside lines some stand in several places. */
static void allow_nonfinite(struct pipeline *l, struct arena *a)
{
    static const char option[] = "--allow-nonfinite";
    const struct pipeline_command *first = &l->commands[0];
    if (first->words[first->n - 1].text == option)
        return;
    for (size_t i = 0; i < l->n; i++) {
        for (size_t j = 0; j < l->commands[i].n; j++)
            if (l->commands[i].words[j].substitution)
                allow_nonfinite(l->commands[i].words[j].substitution, a);
        pipeline_add_word(&l->commands[i], option, a);
    }
}

/* What pack is told of parts. */
static void add_parts(struct task *t)
{
    struct pipeline_command *pack = &t->recipe.pipeline.commands[t->recipe.pipeline.n - 1];
    if (t->o->shards)
        pipeline_add_word(
            pack, arena_printf(&t->a, "--shards=%llu", (unsigned long long)t->o->shards), &t->a);
    if (t->o->part)
        pipeline_add_word(pack, arena_printf(&t->a, "--part=%s", t->o->part), &t->a);
    if (t->o->resume)
        pipeline_add_word(pack, "--resume", &t->a);
}

static int choose_out(struct task *t, bool needed, struct error *e)
{
    const struct string_list *operands = &t->stage->operands;
    if (operands->n == 2 && t->o->out)
        return error_set(e, "OUT and --out-path cannot both be given");
    t->out = operands->n == 2 ? operands->items[1] : t->o->out;
    if (!t->out && needed)
        return error_set(e, "an operand is missing: OUT");
    if (!t->out)
        t->out = t->o->only.n ? "merged.safetensors" : "merged";
    if (t->o->only.n && output_target_form(t->out) != OUTPUT_SAFETENSORS)
        return error_set(e,
                         "--only goes into a .safetensors file, for a folder would not be whole");
    return 0;
}

static int make_recipe(struct task *t, struct error *e)
{
    const struct options *o = t->o;
    const char *tool = t->stage->filter->name;
    struct merge_config_file file;
    struct merge_pipeline_options wanted = {
        .seed = o->seed,
        .bug_compatible = o->bug_compatible,
        .paper = o->paper,
        .no_tokenizer = o->no_tokenizer,
        .force = o->force,
        .missing = choice_of("base|skip", o->missing, &t->a),
        .embed = choice_of("truncate|base", o->embed, &t->a),
        .mismatch = choice_of("drop", o->mismatch, &t->a),
        .n_only = o->only.n,
        .only = o->only.items,
    };
    if (o->cache)
        setenv("HF_HUB_CACHE", o->cache, 1);
    if ((o->shard_size && read_shard_size(o->shard_size, &wanted.shard_parameters, e)) ||
        merge_config_read(&file, t->stage->operands.items[0], tool, &t->a, e) ||
        config_to_pipeline(&t->recipe, &file, t->out, &wanted, tool, &t->a, e))
        return -1;
    if (t->stage->common.allow_nonfinite)
        allow_nonfinite(&t->recipe.pipeline, &t->a);
    add_parts(t);
    return 0;
}

/* Reads command line and configuration; returns the exit status. */
static int start(struct task *t, const struct filter *command, int argc, char **argv,
                 bool needs_out)
{
    struct error e = {0};
    *t = (struct task){0};
    char **words = long_words(&argc, argv);
    t->stage = command_line_parse(command, argc, words);
    t->o = t->stage->options;
    free(words);
    tell_ignored(t->stage);
    if (choose_out(t, needs_out, &e))
        return fail(t, &e, 2);
    return make_recipe(t, &e) ? fail(t, &e, 1) : 0;
}

static int finish(struct task *t, int status)
{
    stage_free(t->stage);
    arena_free(&t->a);
    return status;
}

/* ---- merge ----------------------------------------------------------------------------------- */

/* "1.2 GB" */
static const char *size_text(uint64_t bytes, struct arena *a)
{
    static const char *const units[] = {"bytes", "KB", "MB", "GB", "TB"};
    double x = (double)bytes;
    size_t u = 0;
    while (x >= 1000 && u < 4) {
        x /= 1000;
        u++;
    }
    return u ? arena_printf(a, "%.1f %s", x, units[u])
             : arena_printf(a, "%llu bytes", (unsigned long long)bytes);
}

static int check(struct task *t, const struct pipeline_options *run)
{
    struct preflight_totals sum;
    struct error e = {0};
    if (preflight_dry_run(&t->recipe, run, t->out, t->o->force, &sum, t->stage->filter->name, &t->a,
                          &e))
        return fail(t, &e, 1);
    size_t n = t->recipe.n_models;
    printf("%s of %zu model%s: ", t->recipe.config->method, n, n == 1 ? "" : "s");
    if (sum.size_unknown)
        printf("its size depends on the other documents");
    else
        printf("%zu tensors, %s", sum.tensors, size_text(sum.bytes, &t->a));
    printf(sum.free_bytes ? "; %s free\n" : "\n", size_text(sum.free_bytes, &t->a));
    return standard_output_flush(&e) ? fail(t, &e, 1) : 0;
}

/* Runs a line in a process of its own; the exit status. */
static int run_apart(const struct pipeline_options *run, const struct pipeline *l, struct arena *a)
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        exit(pipeline_run(run, l, a));
    while (pid > 0 && waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return 1;
    return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* Makes a result that is used more than once, and lets the recipe read it from a file without a
 * name, which is gone with this process. */
static int make_result(struct task *t, const struct pipeline_options *run,
                       const struct document_result *result)
{
    struct error e;
    const char *path =
        arena_printf(&t->a, "%s/tvtools-%ld-%s.safetensors",
                     spool_folder_or_default(t->stage->common.spool), (long)getpid(), result->name);
    int status = run_apart(run, merge_pipeline_save_result(result, path, &t->a), &t->a);
    if (status)
        return status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        error_set(&e, "cannot open %s: %s", path, strerror(errno));
        return fail(t, &e, 1);
    }
    unlink(path);
    merge_pipeline_replace_result(&t->recipe, result, arena_printf(&t->a, "/dev/fd/%d", fd), &t->a);
    return 0;
}

static int merge(struct task *t, struct pipeline_options *run)
{
    const struct merge_pipeline *r = &t->recipe;
    int status = pipeline_run_start_report(run, t->o->report);
    for (size_t i = 0; i < r->n_results && status == 0; i++)
        if (r->results[i]->uses > 1)
            status = make_result(t, run, r->results[i]);
    if (status == 0)
        status = pipeline_run(run, &r->pipeline, &t->a);
    return pipeline_run_end_report(run, t->o->report, status);
}

int tv_merge_main(int argc, char **argv, const struct filter *const *filters)
{
    struct task t;
    struct error e = {0};
    int status = start(&t, &merge_command, argc, argv, true);
    if (status)
        return finish(&t, status);
    struct pipeline_options run = {.filters = filters,
                                   .threads = t.stage->common.threads ? t.stage->common.threads
                                                                      : t.o->mergekit_threads,
                                   .memory = t.stage->common.memory,
                                   .spool = t.stage->common.spool,
                                   .monitor = {.show_progress = !t.o->quiet}};
    if (preflight_check_inputs(&t.recipe, &run, &t.a, &e))
        return finish(&t, fail(&t, &e, 1));
    status = t.o->check ? check(&t, &run) : merge(&t, &run);
    return finish(&t, status);
}

/* ---- from-yaml ------------------------------------------------------------------------------- */

static void put_line(const struct pipeline *l)
{
    pipeline_print(l, 0, stdout);
    putchar('\n');
}

/* NAME [OPTION] FOLDER */
static void put_command(const char *name, const char *option, const char *folder, struct arena *a)
{
    struct pipeline l = {0};
    struct pipeline_command *c = pipeline_add_command(&l, name, a);
    if (option)
        pipeline_add_word(c, option, a);
    pipeline_add_word(c, folder, a);
    put_line(&l);
}

/* Results that are used more than once come first, as files of a folder beside OUT. */
static void print(struct task *t)
{
    struct merge_pipeline *r = &t->recipe;
    const char *folder =
        arena_printf(&t->a, "%s.results", strcmp(t->out, "-") == 0 ? "merged" : t->out);
    bool any = false;
    for (size_t i = 0; i < r->n_results; i++) {
        const char *path = arena_printf(&t->a, "%s/%s.safetensors", folder, r->results[i]->name);
        if (r->results[i]->uses <= 1)
            continue;
        if (!any)
            put_command("mkdir", NULL, folder, &t->a);
        any = true;
        put_line(merge_pipeline_save_result(r->results[i], path, &t->a));
        merge_pipeline_replace_result(r, r->results[i], path, &t->a);
    }
    put_line(&r->pipeline);
    if (any)
        put_command("rm", "-r", folder, &t->a);
}

int tv_from_yaml_main(int argc, char **argv)
{
    struct task t;
    struct error e = {0};
    int status = start(&t, &print_command, argc, argv, false);
    if (status)
        return finish(&t, status);
    print(&t);
    return finish(&t, standard_output_flush(&e) ? fail(&t, &e, 1) : 0);
}
