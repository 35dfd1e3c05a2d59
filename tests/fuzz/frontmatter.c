/* The model card of a merge's base, and after a zero byte that of its expert: the metadata that the
 * merge takes over, as a card of both, are taken over as they are. */
#include "fuzz.h"
#include "card_metadata.h"

/* README.md of the two. */
static const char *cards[2];
static size_t sizes[2];

static int read_card(int model, char **text, size_t *size)
{
    *text = fuzz_text(cards[model], sizes[model]);
    *size = sizes[model];
    return 1;
}

/* In the place of the functions that read a model and the Hub's cache. */
const struct ckpt *__wrap_model_source_checkpoint(const struct model_source *);
const struct ckpt *__wrap_model_source_checkpoint(const struct model_source *source)
{
    return (const struct ckpt *)source;
}

uint64_t __wrap_model_source_fingerprint(const struct model_source *);
uint64_t __wrap_model_source_fingerprint(const struct model_source *source)
{
    return 0;
}

int __wrap_ckpt_read_auxiliary_file(const struct ckpt *, const char *, char **, size_t *,
                                    struct error *);
int __wrap_ckpt_read_auxiliary_file(const struct ckpt *c, const char *name, char **text,
                                    size_t *size, struct error *e)
{
    return read_card(0, text, size);
}

int __wrap_ckpt_read_model_file(const char *, const char *, char **, size_t *, struct error *);
int __wrap_ckpt_read_model_file(const char *path, const char *name, char **text, size_t *size,
                                struct error *e)
{
    return read_card(1, text, size);
}

const char *__wrap_hf_cache_find_snapshot(const void *, struct arena *);
const char *__wrap_hf_cache_find_snapshot(const void *model, struct arena *a)
{
    return "snapshot";
}

static char *take_over(const char *base, size_t base_size, const char *expert, size_t expert_size)
{
    static const char source;
    struct error e;
    struct header *h = header_new();
    cards[0] = base, sizes[0] = base_size;
    cards[1] = expert, sizes[1] = expert_size;
    header_add_model(h, "expert", "expert", &e);
    char *metadata = card_metadata_text((const struct model_source *)&source, h);
    header_free(h);
    return metadata;
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    const char *text = (const char *)bytes, *end = size ? memchr(text, '\0', size) : NULL;
    size_t n = end ? (size_t)(end - text) : size;
    char *once = end ? take_over(text, n, end + 1, size - n - 1) : take_over(text, n, text, n);
    char *card = mem_printf("---\n%s---\n", once);
    char *twice = take_over(card, strlen(card), card, strlen(card));
    if (strcmp(once, twice) != 0) {
        dprintf(fuzz_log, "once:\n%s\ntwice:\n%s\n", once, twice);
        abort();
    }
    free(once);
    free(twice);
    free(card);
}
