# tvtools: every filters/*.c becomes a program, every lib/*.c joins libtv.a.

PREFIX  ?= /usr/local
CC      ?= cc
CFLAGS  ?= -O2 -g
VERSION := 0.1.0
B       := build$(if $(SAN),-san)

PACKAGES := build-essential pkg-config libmsgpack-dev libarchive-dev libjansson-dev \
            librandom123-dev libxxhash-dev bats python3-numpy python3-msgpack parallel

ALL_CFLAGS := -std=c11 -D_GNU_SOURCE -Wall -Wextra -MMD -MP -ffp-contract=off -fopenmp \
              -DTV_VERSION='"$(VERSION)"' -Ilib $(CFLAGS)
ifdef SAN
ALL_CFLAGS += -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
endif
LIBS := -Wl,--as-needed -larchive -ljansson -lmsgpackc -lxxhash -lm

FILTERS  := $(filter-out tv,$(basename $(notdir $(wildcard filters/*.c))))
LIB_OBJS := $(patsubst lib/%.c,$B/lib/%.o,$(filter-out lib/main.c,$(wildcard lib/*.c)))
PROGRAMS := $(addprefix $B/bin/,$(FILTERS) tv)
UNITS    := $(patsubst tests/unit/%.c,$B/unit/%,$(wildcard tests/unit/*.c))
symbol    = filter_$(subst -,_,$(1))

all: $(PROGRAMS)

$B/lib/%.o: lib/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

$B/filters/%.o: filters/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

# A filter's program: its descriptor and the library's main.
$B/main/%.o: lib/main.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -DFILTER=$(call symbol,$*) -c -o $@ $<

$B/libtv.a: $(LIB_OBJS)
	@rm -f $@
	$(AR) rcs $@ $^

$B/bin/%: $B/main/%.o $B/filters/%.o $B/libtv.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -o $@ $^ $(LDFLAGS) $(LIBS)

# tv knows all filters: the list is made from the folder.
$B/all-filters.c: $(wildcard filters) Makefile
	@mkdir -p $(@D)
	@{ echo '#include "filter.h"'; \
	   echo 'extern const struct filter $(foreach f,$(FILTERS),$(call symbol,$f)$(if $(filter $f,$(lastword $(FILTERS))),;,,))'; \
	   echo 'const struct filter *const filter_all[] = {$(foreach f,$(FILTERS),&$(call symbol,$f),) NULL};'; } > $@

$B/all-filters.o: $B/all-filters.c
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

$B/bin/tv: $B/filters/tv.o $B/all-filters.o $(FILTERS:%=$B/filters/%.o) $B/libtv.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -o $@ $^ $(LDFLAGS) $(LIBS)

$B/unit/%: tests/unit/%.c $B/libtv.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -Itests/unit -o $@ $^ $(LDFLAGS) $(LIBS)

units: $(UNITS)

clean:
	rm -rf build build-san

%.d: ;
-include $(wildcard $B/*/*.d $B/*.d)
.SECONDARY:
.PHONY: all units clean
