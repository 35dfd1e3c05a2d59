/* The main of every filter's program; the Makefile says which descriptor FILTER is. */
#include "filter_main.h"

extern const struct filter FILTER;

int main(int argc, char **argv)
{
    return filter_main(&FILTER, argc, argv);
}
