#include "transcript.h"

#include "text.h"

#include <string.h>

static void put_attribute(const char *key, const char *value)
{
    printf(" %s=", key);
    text_put_word(stdout, value);
}

static void put_extra(const char *word, struct extra x)
{
    printf("%s %zu", word, x.n);
    putchar(x.n ? ' ' : '\n');
    text_put_bytes(stdout, x.bytes, x.size);
    if (x.n)
        puts("");
}

static void put_history(const struct history *history, int indent)
{
    for (size_t i = 0; i < history->n; i++) {
        const struct step *s = &history->steps[i];
        printf("%*sstep ", indent, "");
        text_put_word(stdout, s->tool);
        putchar(' ');
        text_put_word(stdout, s->version);
        for (size_t j = 0; j < s->n_arguments; j++) {
            putchar(' ');
            text_put_word(stdout, s->arguments[j]);
        }
        puts("");
        if (s->extra.n)
            put_extra("extra", s->extra);
        for (size_t j = 0; j < s->n_parents; j++) {
            printf("%*sparent\n", indent + 2, "");
            put_history(&s->parents[j], indent + 4);
            printf("%*send\n", indent + 2, "");
        }
    }
}

void transcript_header(const struct header *h)
{
    printf("kind %s\n", kind_name(h->kind));
    if (h->rounding)
        printf("rounding %s\n", dtype_name(h->rounding));
    if (h->extra.n)
        put_extra("extra", h->extra);
    for (size_t i = 0; i < h->n_models; i++) {
        const struct model *m = &h->models[i];
        fputs("model ", stdout);
        text_put_word(stdout, m->name);
        if (m->role)
            put_attribute("role", m->role);
        if (m->has_fingerprint)
            printf(" fingerprint=%016llx", (unsigned long long)m->fingerprint);
        puts("");
        if (m->extra.n)
            put_extra("extra", m->extra);
    }
    put_history(&h->history, 0);
}

/* Unknown keys, and those of the manifest where they are others. */
static void put_extras(struct extra own, struct extra announced)
{
    if (own.n)
        put_extra("extra", own);
    if (own.size != announced.size ||
        (own.size && memcmp(own.bytes, announced.bytes, own.size) != 0))
        put_extra("announced-extra", announced);
}

void transcript_vector(const struct header *h, const struct tensor *t,
                       const struct tensor *announced, size_t k)
{
    const struct vector *v = &t->vectors[k];
    char number[32];
    fputs("vector ", stdout);
    text_put_word(stdout, h->models[v->model].name);
    if (v->dtype != DTYPE_F32)
        printf(" %s", dtype_name(v->dtype));
    if (!v->source)
        fputs(" no-source", stdout);
    else if (strcmp(v->source, t->name) != 0)
        put_attribute("source", v->source);
    if (v->stored)
        printf(" stored=%s", dtype_name(v->stored));
    for (size_t i = 0; (v->n_weights > 1 || v->weights[0] != 1) && i < v->n_weights; i++)
        printf("%s%s", i ? "," : " weight=", number_text(v->weights[i], number));
    if (!isnan(v->l1_before))
        printf(" l1_before=%s", number_text(v->l1_before, number));
    if (!isnan(v->keep))
        printf(" keep=%s", number_text(v->keep, number));
    puts("");
    put_extras(v->extra, announced->vectors[k].extra);
    if (v->payload.n)
        put_extra("payload-extra", v->payload);
}

void transcript_shape(const struct tensor *t)
{
    if (t->rank == 0)
        fputs("scalar", stdout);
    for (size_t i = 0; i < t->rank; i++)
        printf("%s%llu", i ? "x" : "", (unsigned long long)t->shape[i]);
}

void transcript_tensor(const struct tensor *t, const struct tensor *announced)
{
    fputs("tensor ", stdout);
    text_put_word(stdout, t->name);
    putchar(' ');
    transcript_shape(t);
    if (t->layer >= 0)
        printf(" layer=%ld/%ld", t->layer, t->layers);
    if (t->base_name)
        put_attribute("base", t->base_name);
    puts("");
    put_extras(t->extra, announced->extra);
}

void transcript_hashes(const struct stage *s)
{
    const char *const *models;
    const uint64_t *hashes;
    size_t n = stage_hashes(s, &models, &hashes);
    for (size_t i = 0; i < n; i++) {
        fputs("hash ", stdout);
        text_put_word(stdout, models[i]);
        printf(" %016llx\n", (unsigned long long)hashes[i]);
    }
}
