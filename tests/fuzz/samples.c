/* Samples of calibrate and score. An input is samples.jsonl; behind a zero byte the file with the
 * pixel values may follow, and then they are samples with images. */
#include "arch_config.h"
#include "fuzz.h"
#include "samples.h"

#include <unistd.h>

static const char llama[] = "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\","
                            "\"hidden_size\":32,\"num_hidden_layers\":1,\"num_attention_heads\":2,"
                            "\"intermediate_size\":32,\"vocab_size\":260,\"rms_norm_eps\":1e-5,"
                            "\"hidden_act\":\"silu\",\"max_position_embeddings\":512}";

static const char qwen2vl[] =
    "{\"architectures\":[\"Qwen2VLForConditionalGeneration\"],\"image_token_id\":250,"
    "\"model_type\":\"qwen2_vl\",\"hidden_act\":\"silu\",\"hidden_size\":48,"
    "\"intermediate_size\":80,\"max_position_embeddings\":512,\"num_attention_heads\":2,"
    "\"num_hidden_layers\":3,\"num_key_value_heads\":1,\"rms_norm_eps\":1e-6,"
    "\"rope_scaling\":{\"mrope_section\":[4,5,3],\"type\":\"mrope\"},\"rope_theta\":1e6,"
    "\"vocab_size\":260,\"tie_word_embeddings\":true,\"vision_config\":{\"depth\":3,"
    "\"embed_dim\":48,\"hidden_act\":\"quick_gelu\",\"hidden_size\":48,\"in_channels\":3,"
    "\"in_chans\":3,\"mlp_ratio\":2,\"model_type\":\"qwen2_vl_vision\",\"num_heads\":3,"
    "\"patch_size\":14,\"spatial_merge_size\":2,\"spatial_patch_size\":14,"
    "\"temporal_patch_size\":2}}";

/* A folder with a link to the pixel values, removed when the program ends; samples.jsonl is in
 * memory. */
static char folder[] = "/tmp/fuzz-samples-XXXXXX";
static char samples_path[64], tensors_path[64];

static void remove_folder(void)
{
    unlink(tensors_path);
    rmdir(folder);
}

static void make_folder(const char *tensors)
{
    if (!mkdtemp(folder))
        abort();
    atexit(remove_folder);
    snprintf(samples_path, sizeof samples_path, "%s/samples.jsonl", folder);
    snprintf(tensors_path, sizeof tensors_path, "%s/tensors.safetensors", folder);
    if (symlink(tensors, tensors_path))
        abort();
}

static const char *write_files(const uint8_t *bytes, size_t size, const uint8_t *zero)
{
    const char *tensors = fuzz_descriptor_path(zero + 1, (size_t)(bytes + size - zero - 1));
    if (!*samples_path)
        make_folder(tensors);
    fuzz_file(0, samples_path, bytes, (size_t)(zero - bytes));
    return folder;
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct error e;
    struct arch a;
    bool duplicates;
    struct samples s = {0};
    const uint8_t *zero = size ? memchr(bytes, 0, size) : NULL;
    fuzz_fixed_memory = zero ? FUZZ_LARGE_MEMORY : FUZZ_FIXED_MEMORY;
    const char *file = zero ? write_files(bytes, size, zero) : fuzz_file(0, "samples", bytes, size);
    const char *config = zero ? qwen2vl : llama;
    if (arch_config_read(&a, "config.json", config, strlen(config), &duplicates, &e)) {
        dprintf(fuzz_log, "%s\n", e.text);
        abort();
    }
    struct sample_requirements required = {.arch = &a, .prompt_required = size & 1};
    samples_read(&s, file, &required, &e);
    samples_free(&s);
    arch_free(&a);
}
