#include "model_folder_names.h"

#include "glob_pattern.h"
#include "mem.h"
#include "tokenizer_files.h"
#include "used_weights.h"

#include <stddef.h>
#include <string.h>

/* The list grows until the process ends. */
static struct added_name {
    struct added_name *next;
    char *name;
} * added;

static bool is_added(const char *name)
{
    for (const struct added_name *a = added; a; a = a->next)
        if (strcmp(a->name, name) == 0)
            return true;
    return false;
}

void model_folder_names_add(const char *name)
{
    struct added_name *a = mem_alloc(1, sizeof *a);
    *a = (struct added_name){added, mem_copy_text(name)};
    added = a;
}

bool model_folder_names_contain(const char *name)
{
    static const char *const patterns[] = {
        /* configs */
        "config*.json", "*_config.json", "*.index.json", "params.json", "modules.json",
        "mergekit_config.yml", "trainer_state.json", USED_WEIGHTS_FILE,
        /* tokenizers that tokenizer_files.h does not list */
        "*.tiktoken",
        /* cards and licenses */
        "README*", "LICENSE*", "LICENCE*", "NOTICE*", "Notice*", "USE_POLICY*", "CITATION*",
        ".gitattributes",
        /* code of the model */
        "modeling_*.py", "configuration_*.py", "image_processing_*.py", "feature_extraction_*.py"};
    bool found = tokenizer_files_is_tokenizer_file(name) || is_added(name);
    for (size_t i = 0; !found && i < sizeof patterns / sizeof *patterns; i++)
        found = glob_pattern_matches(patterns[i], name);
    return found && !strchr(name, '/');
}
