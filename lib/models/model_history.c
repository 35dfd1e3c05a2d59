#include "model_history.h"

#include "history_json.h"

#include <stdlib.h>

int model_history_read(const struct model_source *m, struct history *history, struct arena *a,
                       struct error *e)
{
    const struct header *stream = model_source_stream_header(m);
    char *text;
    *history = (struct history){0};
    if (stream) {
        *history = stream->history;
        return history->n > 0;
    }
    int found = ckpt_read_metadata(model_source_checkpoint(m), HISTORY_JSON_KEY, &text, e);
    if (found > 0 && history_json_parse(history, model_source_name(m), text, a, e))
        found = -1;
    free(text);
    return found;
}

int model_history_read_if_brought(const struct model_source *m, struct history *history,
                                  struct arena *a, struct error *e)
{
    *history = (struct history){0};
    return model_source_brings_history(m) ? model_history_read(m, history, a, e) : 0;
}
