/* The main function of every filter's program; the Makefile defines FILTER as its descriptor. */
#include "filter_main.h"

extern const struct filter FILTER;

int main(int argc, char **argv)
{
    return filter_main(&FILTER, argc, argv);
}
