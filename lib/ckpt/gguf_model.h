/* A model in one GGUF file or in the files of a split: its architecture and settings. Those of
 * architectures other than llama (which Mistral is too) and qwen2 are not interpreted.
 *
 * A gguf_model owns its list of files and what its functions return until gguf_model_close; the
 * bytes of the files are borrowed. */
#ifndef TV_GGUF_MODEL_H
#define TV_GGUF_MODEL_H

#include "gguf.h"

struct gguf_model {
    struct gguf *files; /* of a split: in its order */
    size_t n_files;
    const char *architecture;
    bool is_known;                        /* llama or qwen2 */
    uint64_t heads, kv_heads;             /* of a known architecture; 0: unknown */
    const struct gguf_tensor *rope_freqs; /* of a known architecture; NULL: it has none */
    struct arena arena;
};

/* One file to open. */
struct gguf_model_file {
    const char *title, *name; /* in messages, and without its folder; the title is borrowed */
    const unsigned char *bytes;
    size_t size;
};

/* Reads the headers of all files, and checks that they are one model. NULL on error. */
struct gguf_model *gguf_model_open(const struct gguf_model_file *files, size_t n, struct error *e);
void gguf_model_close(struct gguf_model *m);

/* The metadata of the model, which are in its first file. */
const struct gguf_metadata *gguf_model_metadata(const struct gguf_model *m);
/* The metadata value ARCHITECTURE.KEY; as gguf_metadata_find_constant. */
int gguf_model_find_setting(const struct gguf_model *m, const char *key, uint64_t *x,
                            struct error *e);
/* The tensor with this name in the files; NULL if there is none. */
const struct gguf_tensor *gguf_model_find_tensor(const struct gguf_model *m, const char *gguf_name);
/* The rows of an attention head that are interleaved in the file: those of q and k of llama; else
 * 0. An error if the head count is unknown or does not divide the rows. */
int gguf_model_find_interleaved_rows(const struct gguf_model *m, const struct gguf_tensor *t,
                                     size_t *rows, struct error *e);

/* An error if two models have different token lists, or different rope_freqs. */
int gguf_model_check_compatible(const struct gguf_model *a, const struct gguf_model *b,
                                struct error *e);

#endif
