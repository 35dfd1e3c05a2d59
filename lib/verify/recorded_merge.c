#include "recorded_merge.h"

#include "history_json.h"
#include "strict_json.h"

#include <stdlib.h>
#include <string.h>

static int read_history(struct recorded_merge *m, const struct ckpt *c, const char *file,
                        struct arena *a, struct error *e)
{
    char *text;
    int found = ckpt_read_metadata(c, HISTORY_JSON_KEY, &text, e);
    int failed = found > 0 ? history_json_parse(&m->history, file, text, a, e) : found;
    free(text);
    return failed         ? -1
           : m->history.n ? 0
                          : error_set(e,
                                      "%s has no history; only safetensors files that tvtools has "
                                      "written can be verified",
                                      file);
}

/* Reads an optional JSON object. */
static int read_object(json_t **object, const struct ckpt *c, const char *key, const char *file,
                       struct error *e)
{
    char *text;
    int found = ckpt_read_metadata(c, key, &text, e);
    if (found > 0)
        *object = strict_json_parse(file, key, (const unsigned char *)text, strlen(text), e);
    free(text);
    return found < 0 || (found > 0 && !*object) ? -1 : 0;
}

int recorded_merge_read(struct recorded_merge *m, const struct ckpt *c, const char *file,
                        struct arena *a, struct error *e)
{
    *m = (struct recorded_merge){0};
    return read_history(m, c, file, a, e) || read_object(&m->hashes, c, "tvtools_hashes", file, e)
               ? -1
               : 0;
}

void recorded_merge_free(struct recorded_merge *m)
{
    json_decref(m->hashes);
}

const char *recorded_merge_hash(const struct recorded_merge *m, const char *model)
{
    const char *hash = json_string_value(json_object_get(m->hashes, model));
    return hash && strspn(hash, "0123456789abcdef") == 16 ? hash : NULL;
}
