# tvtools: every filters/*.c becomes a program, every lib/*.c joins libtv.a.

PREFIX  ?= /usr/local
CC      ?= cc
CFLAGS  ?= -O2 -g
VERSION := 0.1.0
B       := build$(if $(SAN),-san)

PACKAGES := build-essential pkg-config libmsgpack-dev libarchive-dev libopenblas-dev libjansson-dev \
            libyaml-dev librandom123-dev libxxhash-dev bats python3-numpy python3-msgpack

ALL_CFLAGS := -std=c11 -D_GNU_SOURCE -Wall -Wextra -MMD -MP -ffp-contract=off -fopenmp \
              -DTV_VERSION='"$(VERSION)"' -Ilib $(CFLAGS)
ifdef SAN
ALL_CFLAGS += -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
endif
LIBS := -Wl,--as-needed -larchive -ljansson -lmsgpackc -lm
