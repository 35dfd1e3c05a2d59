#include "text_form_print.h"

#include "run_context.h"
#include "text_scanner.h"

#include <string.h>

static void put_attribute(const char *key, const char *value)
{
    printf(" %s=", key);
    text_print_word(stdout, value);
}

static void put_extra(const char *word, struct unknown_keys x)
{
    printf("%s %zu", word, x.n);
    putchar(x.n ? ' ' : '\n');
    text_print_hex(stdout, x.bytes, x.size);
    if (x.n)
        puts("");
}

static void put_history(const struct history *history, int indent)
{
    for (size_t i = 0; i < history->n; i++) {
        const struct history_step *s = &history->steps[i];
        printf("%*sstep ", indent, "");
        text_print_word(stdout, s->tool);
        putchar(' ');
        text_print_word(stdout, s->version);
        for (size_t j = 0; j < s->n_arguments; j++) {
            putchar(' ');
            text_print_word(stdout, s->arguments[j]);
        }
        puts("");
        if (s->unknown_keys.n)
            put_extra("extra", s->unknown_keys);
        for (size_t j = 0; j < s->n_parents; j++) {
            printf("%*sparent\n", indent + 2, "");
            put_history(&s->parents[j], indent + 4);
            printf("%*send\n", indent + 2, "");
        }
    }
}

void text_form_print_header(const struct header *h)
{
    printf("kind %s\n", stream_kind_name(h->kind));
    if (h->input_rounding)
        printf("rounding %s\n", dtype_name(h->input_rounding));
    if (h->unknown_keys.n)
        put_extra("extra", h->unknown_keys);
    for (size_t i = 0; i < h->n_models; i++) {
        const struct model *m = &h->models[i];
        fputs("model ", stdout);
        text_print_word(stdout, m->name);
        if (m->role)
            put_attribute("role", m->role);
        if (m->has_fingerprint)
            printf(" fingerprint=%016llx", (unsigned long long)m->fingerprint);
        puts("");
        if (m->unknown_keys.n)
            put_extra("extra", m->unknown_keys);
    }
    put_history(&h->history, 0);
}

/* Unknown keys, and those of the manifest where they are others. */
static void put_extras(struct unknown_keys own, struct unknown_keys announced)
{
    if (own.n)
        put_extra("extra", own);
    if (own.size != announced.size ||
        (own.size && memcmp(own.bytes, announced.bytes, own.size) != 0))
        put_extra("announced-extra", announced);
}

void text_form_print_vector(const struct header *h, const struct tensor *t,
                            const struct tensor *announced, size_t k)
{
    const struct vector *v = &t->vectors[k];
    char number[32];
    fputs("vector ", stdout);
    text_print_word(stdout, h->models[v->model].name);
    if (v->dtype != DTYPE_F32)
        printf(" %s", dtype_name(v->dtype));
    if (!v->source)
        fputs(" no-source", stdout);
    else if (strcmp(v->source, t->name) != 0)
        put_attribute("source", v->source);
    if (v->stored_dtype)
        printf(" stored=%s", dtype_name(v->stored_dtype));
    for (size_t i = 0; (v->n_weights > 1 || v->weights[0] != 1) && i < v->n_weights; i++)
        printf("%s%s", i ? "," : " weight=", number_format(v->weights[i], number));
    if (!isnan(v->l1_before))
        printf(" l1_before=%s", number_format(v->l1_before, number));
    if (!isnan(v->keep_probability))
        printf(" keep=%s", number_format(v->keep_probability, number));
    puts("");
    put_extras(v->unknown_keys, announced->vectors[k].unknown_keys);
    if (v->unknown_payload_keys.n)
        put_extra("payload-extra", v->unknown_payload_keys);
}

void text_form_print_shape(const struct tensor *t)
{
    if (t->rank == 0)
        fputs("scalar", stdout);
    for (size_t i = 0; i < t->rank; i++)
        printf("%s%llu", i ? "x" : "", (unsigned long long)t->shape[i]);
}

void text_form_print_tensor(const struct tensor *t, const struct tensor *announced)
{
    fputs("tensor ", stdout);
    text_print_word(stdout, t->name);
    putchar(' ');
    text_form_print_shape(t);
    if (t->layer >= 0)
        printf(" layer=%ld/%ld", t->layer, t->layers);
    if (t->base_name)
        put_attribute("base", t->base_name);
    puts("");
    put_extras(t->unknown_keys, announced->unknown_keys);
}

void text_form_print_hashes(const struct stage *s)
{
    const char *const *models;
    const uint64_t *hashes;
    size_t n = run_context_model_hashes(s, &models, &hashes);
    for (size_t i = 0; i < n; i++) {
        fputs("hash ", stdout);
        text_print_word(stdout, models[i]);
        printf(" %016llx\n", (unsigned long long)hashes[i]);
    }
}
