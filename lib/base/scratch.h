/* Memory for one large array: anonymous up to a limit, else a mapped, unlinked temporary file,
 * which the kernel can write out. A scratch owns its bytes until scratch_free; zeroed it is empty.
 */
#ifndef TV_SCRATCH_H
#define TV_SCRATCH_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>

struct scratch {
    void *bytes; /* aligned to 64; not zeroed */
    size_t size;
    bool is_file;
};

/* Above `memory` bytes the file is in `folder` (NULL: $TMPDIR, else /var/tmp), and its space is
 * allocated at once. */
int scratch_alloc(struct scratch *s, size_t size, size_t memory, const char *folder,
                  struct error *e);
void scratch_free(struct scratch *s);

#endif
