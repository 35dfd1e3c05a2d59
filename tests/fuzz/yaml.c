/* A merge configuration: translated to a pipeline and printed; what is printed must parse. The
 * Makefile replaces the functions that open models, so that the file system is not read. */
#include "config_to_pipeline.h"
#include "fuzz.h"
#include "model_modules.h"
#include "printed.h"

void *__wrap_model_source_open(const char *, const char *, const char *, struct error *e);
int __wrap_model_modules_read_type(const char *, const char *, const char **type, struct arena *,
                                   struct error *e);
int __wrap_model_modules_find_stack(const struct model_modules *, const struct model_module *,
                                    const char *, const char *, const char **stack, struct arena *,
                                    struct error *e);
void *__wrap_ckpt_open(const char *, const char *, FILE *, struct error *e);
char *__wrap_realpath(const char *path, char *to);

void *__wrap_model_source_open(const char *operand, const char *spool, const char *tool,
                               struct error *e)
{
    error_set(e, "there is no model");
    return NULL;
}

int __wrap_model_modules_read_type(const char *model, const char *tool, const char **type,
                                   struct arena *a, struct error *e)
{
    *type = "qwen2_vl";
    return 0;
}

int __wrap_model_modules_find_stack(const struct model_modules *m,
                                    const struct model_module *module, const char *model,
                                    const char *tool, const char **stack, struct arena *a,
                                    struct error *e)
{
    *stack = module->globs[1] ? "visual.blocks" : NULL;
    return 0;
}

void *__wrap_ckpt_open(const char *path, const char *spool, FILE *notes, struct error *e)
{
    error_set(e, "there is no model");
    return NULL;
}

char *__wrap_realpath(const char *path, char *to)
{
    return NULL;
}

static void print_results(struct translated_config *m, struct arena *a)
{
    for (size_t i = 0; i < m->n_results; i++) {
        check_printed(translated_config_pipeline_to_file(m->results[i], "result", a), a);
        if (m->results[i]->uses > 1)
            translated_config_replace_result(m, m->results[i], "result", a);
    }
    check_printed(&m->pipeline, a);
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct error e;
    struct arena a = {0};
    struct merge_config_file f;
    struct translated_config m;
    const char *only[] = {"model.layers.*"};
    struct translation_options o = {.seed = size,
                                    .bug_compatible = size & 1,
                                    .paper = size & 2,
                                    .no_tokenizer = size & 4,
                                    .n_only = size / 8 & 1,
                                    .only = only,
                                    .shard_parameters = size & 16};
    if (merge_config_read(&f, fuzz_file(0, "config", bytes, size), "fuzz", &a, &e) == 0 &&
        config_to_pipeline(&m, &f, "out", &o, "fuzz", &a, &e) == 0)
        print_results(&m, &a);
    arena_free(&a);
}
