/* A file of statistics, as regmean and fisher read it. The first byte chooses the filter, and
 * whether the other model has the same file or a valid one; the rest is the file. A mean lies
 * between what it was computed from. The mutator keeps the length of the header of a safetensors
 * file right. */
#include "filter.h"
#include "fuzz.h"
#include "stage.h"

#include <sys/mman.h>
#include <unistd.h>

#define MODELS   2
#define ELEMENTS 6 /* of w (2, 3); v has 4 */

enum { USE_REGMEAN = 1, SAME_FILE = 2 };

extern const struct filter filter_fisher, filter_regmean;

/* The vectors of w and v. */
static const float values[MODELS][ELEMENTS] = {{1, -2, 0.5f, 0, 1e30f, 4},
                                               {-3, 2, 1, 1e-30f, 0, 4}};

/* ---- the stream ------------------------------------------------------------------------------ */

static void add_tensor(struct header *h, const char *name, size_t rank, const uint64_t *shape)
{
    struct tensor *t = &h->tensors[h->n_tensors++];
    *t = (struct tensor){.name = name, .rank = rank, .shape = shape, .layer = -1, .layers = -1};
    t->n_vectors = MODELS;
    t->vectors = arena_alloc(&h->arena, MODELS, sizeof *t->vectors);
    for (size_t k = 0; k < MODELS; k++)
        t->vectors[k] = vector_with_defaults(k, name, DTYPE_F32, DTYPE_F32);
}

static struct header *make_header(void)
{
    static const uint64_t w[] = {2, 3}, v[] = {4};
    struct error e;
    struct header *h = header_new();
    h->kind = KIND_TASK_VECTORS;
    h->tensors = arena_alloc(&h->arena, 2, sizeof *h->tensors);
    if (header_add_model(h, "math", "expert", &e) || header_add_model(h, "code", "expert", &e) != 1)
        abort();
    add_tensor(h, "w", 2, w);
    add_tensor(h, "v", 1, v);
    return h;
}

/* ---- running a filter ------------------------------------------------------------------------ */

static void check_mean(const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float a = values[0][i], b = values[1][i], low = a < b ? a : b, high = a < b ? b : a;
        if (!(y[i] >= low && y[i] <= high)) {
            dprintf(fuzz_log, "element %zu: %g is not between %g and %g\n", i, (double)y[i],
                    (double)low, (double)high);
            abort();
        }
    }
}

static int observe(const struct filter *f, struct job *job, struct block *b, struct error *e)
{
    void *work = malloc(job->work_size);
    int failed = f->observe_block(job, b, work, e) || f->accumulate_block(job, b, work, e);
    free(work);
    return failed;
}

static int run_job(const struct filter *f, struct job *job, struct error *e)
{
    size_t n = tensor_elements(job->in), buffers[MODELS] = {0, 1};
    float copies[MODELS][ELEMENTS];
    void *data[MODELS] = {copies[0], copies[1]};
    enum dtype dtypes[MODELS] = {DTYPE_F32, DTYPE_F32};
    struct block b = {.n = n,
                      .columns = tensor_columns(job->in),
                      .n_vectors = MODELS,
                      .data = data,
                      .dtypes = dtypes,
                      .buffer_of = buffers};
    memcpy(copies, values, sizeof copies);
    job->block_elements = n;
    int plan = f->begin_tensor(job, e);
    int failed = plan < 0 || (plan == PLAN_OBSERVE && observe(f, job, &b, e)) ||
                 (f->end_round && f->end_round(job, e) < 0) || f->transform_block(job, &b, e);
    if (!failed && (f == &filter_fisher || job->in->rank == 1))
        check_mean(block_floats(&b, 0), n);
    if (f->end_tensor)
        f->end_tensor(job, !failed, e);
    return failed;
}

static int run_tensors(const struct filter *f, struct stage *s, struct error *e)
{
    int failed = 0;
    for (size_t i = 0; i < s->in->n_tensors && !failed; i++) {
        struct arena a = {0};
        struct tensor out = tensor_copy(&a, &s->out->tensors[i]);
        struct job job = {
            .stage = s, .index = i, .in = &s->in->tensors[i], .out = &out, .arena = &a};
        failed = run_job(f, &job, e);
        arena_free(&a);
    }
    return failed;
}

static void run_filter(const struct filter *f, const char *math, const char *code)
{
    struct error e;
    struct stage *s = stage_new(f);
    struct header *in = make_header(), *out = header_copy(in);
    s->common.threads = 1;
    s->in = in;
    s->out = out;
    int failed = stage_set_option(s, f->options, math, &e) ||
                 stage_set_option(s, f->options, code, &e) || f->check_options(s, &e);
    if (failed)
        abort();
    failed = f->open(s, out, &e) || run_tensors(f, s, &e);
    f->close(s, !failed, &e);
    header_free(in);
    header_free(out);
    stage_free(s);
}

/* ---- the files ------------------------------------------------------------------------------- */

/* The path of a file that is always the same: w is (n, n) or (2, 3). */
static const char *path_of_valid_file(bool square)
{
    static int fds[2] = {-1, -1};
    static char paths[2][40];
    static const float gram[9] = {2, 1, 0, 1, 2, 0, 0, 0, 1};
    if (fds[square] < 0) {
        char text[128];
        int n = snprintf(text, sizeof text,
                         "{\"w\":{\"dtype\":\"F32\",\"shape\":[%d,3],\"data_offsets\":[0,%d]}}",
                         square ? 3 : 2, square ? 36 : 24);
        uint64_t length = (uint64_t)n;
        fds[square] = memfd_create("valid", MFD_CLOEXEC);
        if (write(fds[square], &length, 8) != 8 || write(fds[square], text, (size_t)n) != n ||
            write(fds[square], gram, square ? 36 : 24) < 0)
            abort();
        snprintf(paths[square], sizeof paths[square], "code=/proc/self/fd/%d", fds[square]);
    }
    return paths[square];
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    char math[48], code[48];
    int flags = size ? *bytes : 0;
    fuzz_fixed_memory = FUZZ_LARGE_MEMORY;
    bytes += size > 0;
    size -= size > 0;
    const char *path = fuzz_descriptor_path(bytes, size);
    fuzz_file_with_descriptor(0, path, bytes, size);
    snprintf(math, sizeof math, "math=%s", path);
    snprintf(code, sizeof code, "code=%s", path);
    run_filter(flags & USE_REGMEAN ? &filter_regmean : &filter_fisher, math,
               flags & SAME_FILE ? code : path_of_valid_file(flags & USE_REGMEAN));
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed)
{
    if (size < 2 || max < 2 || seed % 16 == 0)
        return LLVMFuzzerMutate(bytes, size, max);
    if (seed % 16 == 1)
        *bytes = (uint8_t)(seed / 16);
    return 1 + fuzz_mutate_safetensors(bytes + 1, size - 1, max - 1, seed / 16);
}
