#include "vocabulary_option.h"

#include "stage.h"

int vocabulary_option_open(struct stage *s, const char *text, struct vocabulary **v,
                           struct error *e)
{
    *v = NULL;
    if (!text)
        return 0;
    *v = vocabulary_new(text, s->filter->role == ROLE_SOURCE ? s->filter->name : NULL, e);
    if (!*v)
        return -1;
    const char *recorded = vocabulary_request_format(&(*v)->request, false, &s->arena);
    stage_record_option(s, arena_printf(&s->arena, "--vocabulary=%s", recorded));
    return 0;
}
