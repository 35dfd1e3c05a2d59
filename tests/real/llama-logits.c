/* llama-logits MODEL.gguf ID...: the logits of llama.cpp for these tokens, one row per token, as
 * float32 on standard output. Compiled and run by compare-with-llama.cpp. */
#include <llama.h>

#include <stdio.h>
#include <stdlib.h>

#define MAX_TOKENS 512

static void fail(const char *sentence)
{
    fprintf(stderr, "llama-logits: %s\n", sentence);
    exit(1);
}

static void print_errors(enum ggml_log_level level, const char *text, void *data)
{
    if (level == GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

static struct llama_context *open_context(struct llama_model *model)
{
    struct llama_context_params c = llama_context_default_params();
    c.n_ctx = c.n_batch = c.n_ubatch = MAX_TOKENS;
    c.n_threads = c.n_threads_batch = 1;
    c.type_k = c.type_v = GGML_TYPE_F32;
    c.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    return llama_init_from_model(model, c);
}

int main(int argc, char **argv)
{
    int n = argc - 2;
    if (n < 1 || n > MAX_TOKENS)
        fail("usage: llama-logits MODEL.gguf ID...");
    llama_log_set(print_errors, NULL);
    struct llama_model *model = llama_model_load_from_file(argv[1], llama_model_default_params());
    struct llama_context *context = model ? open_context(model) : NULL;
    if (!context)
        fail("cannot load the model");
    struct llama_batch batch = llama_batch_init(n, 0, 1);
    for (batch.n_tokens = 0; batch.n_tokens < n; batch.n_tokens++) {
        int i = batch.n_tokens;
        batch.token[i] = atoi(argv[2 + i]);
        batch.pos[i] = i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 1;
    }
    if (llama_decode(context, batch))
        fail("cannot run the model");
    size_t width = (size_t)llama_vocab_n_tokens(llama_model_get_vocab(model));
    for (int i = 0; i < n; i++)
        if (fwrite(llama_get_logits_ith(context, i), sizeof(float), width, stdout) != width)
            fail("cannot write the logits");
    llama_batch_free(batch);
    llama_free(context);
    llama_model_free(model);
    return fflush(stdout) ? 1 : 0;
}
