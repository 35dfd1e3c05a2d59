/* config.json: the architecture with the shapes of its weights, and what every merge reads. */
#include "fuzz.h"
#include "arch_config.h"
#include "model_config.h"
#include "weight_kind.h"

static void visit_weights(const struct arch *a)
{
    char name[WEIGHT_KIND_NAME_SIZE];
    uint64_t shape[WEIGHT_KIND_MAX_RANK];
    size_t rows, columns;
    weight_kind_largest_range(a);
    weight_kind_index_count(a);
    for (enum weight_kind kind = 0; kind < WEIGHT_KINDS; kind++) {
        weight_kind_find_shape(a, kind, &rows, &columns);
        weight_kind_file_shape(a, kind, shape);
        weight_kind_elements(a, kind);
        weight_kind_index(a, kind, 0);
        weight_kind_name(kind, weight_kind_layers(a, kind), name);
    }
}

void fuzz_one(const uint8_t *bytes, size_t size)
{
    struct error e;
    struct arch a;
    bool duplicates;
    char *text = fuzz_text(bytes, size);
    model_config_layer_count(text, size);
    model_config_tied_embeddings(text, size);
    if (arch_config_read(&a, "config.json", text, size, &duplicates, &e) == 0) {
        visit_weights(&a);
        arch_free(&a);
    }
    free(text);
}
