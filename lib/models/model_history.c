#include "model_history.h"

#include "history_json.h"

static int read_history(const struct model_source *m, struct history *history, struct arena *a,
                        struct error *e)
{
    const struct header *stream = model_source_stream_header(m);
    json_t *metadata;
    *history = (struct history){0};
    if (stream) {
        *history = stream->history;
        return history->n > 0;
    }
    int found = ckpt_read_metadata(model_source_checkpoint(m), 0, &metadata, e);
    const char *text = json_string_value(json_object_get(metadata, HISTORY_JSON_KEY));
    if (text && history_json_parse(history, model_source_name(m), text, a, e))
        found = -1;
    json_decref(metadata);
    return found < 0 ? -1 : history->n > 0;
}

int model_history_read_if_brought(const struct model_source *m, struct history *history,
                                  struct arena *a, struct error *e)
{
    *history = (struct history){0};
    return model_source_brings_history(m) ? read_history(m, history, a, e) : 0;
}
