#include "model_folder_names.h"

#include "glob_pattern.h"
#include "tokenizer_files.h"
#include "used_weights.h"

#include <stddef.h>
#include <string.h>

bool model_folder_names_contain(const char *name)
{
    static const char *const patterns[] = {
        /* configs */
        "config*.json", "*_config.json", "*.index.json", "params.json", "quantize_config.json",
        "model_index.json", "modules.json", USED_WEIGHTS_FILE, "mergekit_config.yml",
        "trainer_state.json", "*_results.json",
        /* tokenizers that tokenizer_files.h does not list */
        "*.tiktoken", "qwen.tiktoken", "*.bpe", "*token*.json", "special_tokens*.json",
        /* cards and licences */
        "README*", "LICENSE*", "LICENCE*", "NOTICE*", "Notice*", "USE_POLICY*", "CITATION*",
        ".gitattributes",
        /* code of the model */
        "modeling_*.py", "configuration_*.py", "tokenization_*.py", "processing_*.py",
        "image_processing_*.py", "video_processing_*.py", "feature_extraction_*.py", "modular_*.py",
        "generation_*.py", "quantization*.py", "__init__.py"};
    bool found = tokenizer_files_is_tokenizer_file(name);
    for (size_t i = 0; !found && i < sizeof patterns / sizeof *patterns; i++)
        found = glob_pattern_matches(patterns[i], name);
    return found && !strchr(name, '/');
}
