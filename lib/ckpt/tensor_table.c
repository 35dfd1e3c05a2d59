#include "tensor_table.h"

#include "notes.h"
#include "quantized_weights.h"
#include "shard_index.h"

#include <stdlib.h>
#include <string.h>

static int compare_names(const void *a, const void *b)
{
    const struct tensor_table_row *x = a, *y = b;
    return strcmp(x->tensor.name, y->tensor.name);
}

int tensor_table_list(struct tensor_table *t, const struct shard_list *s, struct error *e)
{
    t->n = shard_list_tensor_count(s);
    struct tensor_table_row *to = t->rows = mem_alloc(t->n, sizeof *t->rows);
    for (size_t k = 0; k < s->n; k++)
        for (size_t i = 0; i < s->list[k].tensors.n; i++) {
            struct stored_tensor *stored = &s->list[k].tensors.list[i];
            *to++ = (struct tensor_table_row){ckpt_tensor_make(stored), stored, &s->list[k]};
        }
    qsort(t->rows, t->n, sizeof *t->rows, compare_names);
    for (size_t i = 1; i < t->n; i++)
        if (compare_names(&t->rows[i - 1], &t->rows[i]) == 0)
            return error_set(e, "two tensors are named %.200s, in %s and %s",
                             t->rows[i].tensor.name, t->rows[i - 1].shard->file->title,
                             t->rows[i].shard->file->title);
    return 0;
}

long tensor_table_find(const struct tensor_table *t, const char *name)
{
    struct tensor_table_row key = {.tensor = {.name = name}};
    const struct tensor_table_row *found = bsearch(&key, t->rows, t->n, sizeof key, compare_names);
    return found ? found - t->rows : -1;
}

void tensor_table_free(struct tensor_table *t)
{
    free(t->rows);
    *t = (struct tensor_table){0};
}

/* ---- the index of the shards ----------------------------------------------------------------- */

/* Checks that every tensor of the index is in the shard that the index names. */
static int check_indexed_tensors(const struct tensor_table *t, const struct weight_files *w,
                                 json_t *map, struct error *e)
{
    const char *tensor;
    json_t *value;
    json_object_foreach(map, tensor, value)
    {
        long i = tensor_table_find(t, tensor);
        const char *shard = json_string_value(value);
        if (i < 0 || strcmp(t->rows[i].shard->file->name, shard) != 0)
            return error_set(e, "%s: tensor %.200s is not in %.200s, where %s lists it", w->path,
                             tensor, shard, w->index->name);
    }
    return 0;
}

/* Notes the tensors that the shards contain but the index does not list. */
static void print_note_of_unindexed_tensors(const struct tensor_table *t,
                                            const struct weight_files *w, const json_t *map)
{
    size_t unlisted = 0;
    const char *first = NULL;
    for (size_t i = 0; i < t->n; i++)
        if (!json_object_get(map, t->rows[i].tensor.name))
            first = unlisted++ ? first : t->rows[i].tensor.name;
    if (unlisted)
        notes_print(w->notes,
                    "%s does not list %zu tensors that its shards contain (%.200s%s); they are "
                    "read too",
                    w->index->title, unlisted, first, unlisted > 1 ? ", ..." : "");
}

int tensor_table_check_index(const struct tensor_table *t, const struct weight_files *w,
                             struct error *e)
{
    json_t *map = shard_index_read(w->files, w->index, w->path, e);
    if (!map)
        return -1;
    int failed = check_indexed_tensors(t, w, map, e);
    if (!failed)
        print_note_of_unindexed_tensors(t, w, map);
    json_decref(map);
    return failed;
}

/* ---- quantized weights ----------------------------------------------------------------------- */

int tensor_table_resolve_quantized(struct tensor_table *t, struct model_files *files,
                                   const struct weight_files *w, struct error *e)
{
    struct tensor_list l = {.path = w->path,
                            .n = t->n,
                            .tensors = mem_alloc(t->n, sizeof(struct stored_tensor *)),
                            .omitted = mem_alloc(t->n, sizeof *l.omitted)};
    for (size_t i = 0; i < t->n; i++)
        l.tensors[i] = t->rows[i].stored;
    int failed = quantized_weights_resolve(&l, files, w->notes, e);
    t->quantization = quantized_weights_describe(&l, &files->arena);
    t->n = 0;
    for (size_t i = 0; i < l.n; i++) {
        if (l.omitted[i])
            continue;
        t->rows[t->n] = t->rows[i];
        t->rows[t->n++].tensor = ckpt_tensor_make(l.tensors[i]);
    }
    free(l.tensors);
    free(l.omitted);
    return failed;
}
