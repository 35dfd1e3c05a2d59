#include "stream_totals.h"

#include "text_print.h"

uint64_t stream_totals_tensor_bytes(const struct tensor *t)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k < t->n_vectors; k++)
        bytes += dtype_bytes(t->vectors[k].dtype, tensor_elements(t));
    return bytes;
}

struct stream_totals stream_totals_count(const struct header *h)
{
    struct stream_totals totals = {.tensors = h->n_tensors};
    for (size_t i = 0; i < h->n_tensors; i++) {
        const struct tensor *t = &h->tensors[i];
        totals.vectors += t->n_vectors;
        totals.elements += t->n_vectors * tensor_elements(t);
        totals.elements_per_model += tensor_elements(t);
        totals.payload_bytes += stream_totals_tensor_bytes(t);
    }
    return totals;
}

void stream_totals_print(const struct stream_totals *t, bool per_model)
{
    text_print_count(stdout, t->tensors, "tensor");
    fputs(", ", stdout);
    text_print_count(stdout, t->vectors, "vector");
    fputs(", ", stdout);
    text_print_count(stdout, per_model ? t->elements_per_model : t->elements, "element");
    printf("%s, %llu bytes of payload", per_model ? " per model" : "",
           (unsigned long long)t->payload_bytes);
}
