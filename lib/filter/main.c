/* The main of every filter's program; the Makefile says which descriptor FILTER is. */
#include "program.h"

extern const struct filter FILTER;

int main(int argc, char **argv)
{
    return program_main(&FILTER, argc, argv);
}
