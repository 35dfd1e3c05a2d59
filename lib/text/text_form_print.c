#include "text_form_print.h"

#include "source_sink_services.h"
#include "text_print.h"

#include <string.h>

static void print_attribute(const char *key, const char *value)
{
    printf(" %s=", key);
    text_print_word(stdout, value);
}

static void print_unknown_key_bytes(const char *word, struct unknown_keys keys)
{
    printf("%s %zu", word, keys.n);
    putchar(keys.n ? ' ' : '\n');
    text_print_hex(stdout, keys.bytes, keys.size);
    if (keys.n)
        puts("");
}

static void print_fingerprints(const struct history_step *s, int indent)
{
    printf("%*sfingerprints", indent, "");
    for (size_t j = 0; j < s->n_fingerprints; j++)
        printf(" %016llx", (unsigned long long)s->fingerprints[j]);
    puts("");
}

static void print_history(const struct history *history, int indent)
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
        if (s->n_fingerprints)
            print_fingerprints(s, indent + 2);
        if (s->blas) {
            printf("%*sblas ", indent + 2, "");
            text_print_word(stdout, s->blas);
            puts("");
        }
        if (s->unknown_keys.n)
            print_unknown_key_bytes("extra", s->unknown_keys);
        for (size_t j = 0; j < s->n_parents; j++) {
            printf("%*sparent\n", indent + 2, "");
            print_history(&s->parents[j], indent + 4);
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
        print_unknown_key_bytes("extra", h->unknown_keys);
    for (size_t i = 0; i < h->n_models; i++) {
        const struct model *m = &h->models[i];
        fputs("model ", stdout);
        text_print_word(stdout, m->name);
        if (m->role)
            print_attribute("role", m->role);
        if (m->has_fingerprint)
            printf(" fingerprint=%016llx", (unsigned long long)m->fingerprint);
        if (m->hub)
            print_attribute("hub", m->hub);
        if (m->commit)
            print_attribute("commit", m->commit);
        if (m->quantization)
            print_attribute("quantization", m->quantization);
        puts("");
        if (m->unknown_keys.n)
            print_unknown_key_bytes("extra", m->unknown_keys);
    }
    print_history(&h->history, 0);
}

/* Prints the unknown keys of a tensor header, and those of its manifest entry if they differ. */
static void print_unknown_keys(struct unknown_keys own, struct unknown_keys entry)
{
    if (own.n)
        print_unknown_key_bytes("extra", own);
    if (own.size != entry.size || (own.size && memcmp(own.bytes, entry.bytes, own.size) != 0))
        print_unknown_key_bytes("announced-extra", entry);
}

static void print_weights(size_t n, const double *weights)
{
    char number[32];
    for (size_t i = 0; (n > 1 || weights[0] != 1) && i < n; i++)
        printf("%s%s", i ? "," : " weight=", number_format(weights[i], number));
}

static void print_joined_vectors(size_t n, const struct joined_vector *joined, int indent)
{
    for (size_t i = 0; i < n; i++) {
        const struct joined_vector *v = &joined[i];
        printf("%*sjoined ", indent, "");
        text_print_word(stdout, v->name);
        print_weights(v->n_weights, v->weights);
        puts("");
        if (v->unknown_keys.n)
            print_unknown_key_bytes("extra", v->unknown_keys);
        if (v->n_joined) {
            printf("%*sparent\n", indent + 2, "");
            print_joined_vectors(v->n_joined, v->joined, indent + 4);
            printf("%*send\n", indent + 2, "");
        }
    }
}

void text_form_print_vector(const struct header *h, const struct tensor *t,
                            const struct tensor *entry, size_t k)
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
        print_attribute("source", v->source);
    if (v->stored_dtype)
        printf(" stored=%s", dtype_name(v->stored_dtype));
    print_weights(v->n_weights, v->weights);
    if (!isnan(v->l1_before))
        printf(" l1_before=%s", number_format(v->l1_before, number));
    if (!isnan(v->l1))
        printf(" l1=%s", number_format(v->l1, number));
    if (!isnan(v->keep_probability))
        printf(" keep=%s", number_format(v->keep_probability, number));
    puts("");
    print_unknown_keys(v->unknown_keys, entry->vectors[k].unknown_keys);
    if (v->unknown_payload_keys.n)
        print_unknown_key_bytes("payload-extra", v->unknown_payload_keys);
    print_joined_vectors(v->n_joined, v->joined, 0);
}

void text_form_print_shape(const struct tensor *t)
{
    if (t->rank == 0)
        fputs("scalar", stdout);
    for (size_t i = 0; i < t->rank; i++)
        printf("%s%llu", i ? "x" : "", (unsigned long long)t->shape[i]);
}

void text_form_print_tensor(const struct tensor *t, const struct tensor *entry)
{
    fputs("tensor ", stdout);
    text_print_word(stdout, t->name);
    putchar(' ');
    text_form_print_shape(t);
    if (t->layer >= 0)
        printf(" layer=%ld/%ld", t->layer, t->layers);
    if (t->base_name)
        print_attribute("base", t->base_name);
    puts("");
    print_unknown_keys(t->unknown_keys, entry->unknown_keys);
}

void text_form_print_hashes(const struct stage *s)
{
    const char *const *models;
    const uint64_t *hashes;
    size_t n = source_sink_services_get_model_hashes(s, &models, &hashes);
    for (size_t i = 0; i < n; i++) {
        fputs("hash ", stdout);
        text_print_word(stdout, models[i]);
        printf(" %016llx\n", (unsigned long long)hashes[i]);
    }
}
