# tvtools: every filters/*.c becomes a program, every lib/*/*.c joins libtv.a.

PREFIX  ?= /usr/local
CC      ?= cc
CFLAGS  ?= -O2 -g
VERSION := 0.1.0
B       := build$(if $(SAN),-san)$(if $(SIMD),-$(SIMD))

# Debian's packages: what the programs and the demo need, what the tests need as well, and so on.
BUILD_PACKAGES := gcc make libc6-dev libmsgpack-dev libarchive-dev libjansson-dev libyaml-dev libxxhash-dev
CHECK_PACKAGES := librandom123-dev libopenblas0-pthread bats parallel zstd python3-numpy python3-msgpack \
                  gnuplot-nox openmpi-bin
BUNDLED        := libarchive-dev libjansson-dev libyaml-dev libmsgpack-dev libxxhash-dev zlib1g-dev libbz2-dev \
                  liblzma-dev libzstd-dev liblz4-dev nettle-dev libacl1-dev libopenblas0-pthread libgfortran5
WHEEL_PACKAGES := binutils python3 $(BUNDLED)
DEB_PACKAGES   := git dpkg-dev debhelper
PACKAGES       := $(BUILD_PACKAGES) $(CHECK_PACKAGES)

ALL_CFLAGS := -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wno-unused-parameter -MMD -MP \
              -ffp-contract=off -pthread -DTV_VERSION='"$(VERSION)"' $(addprefix -I,$(filter-out %.md,$(wildcard lib/*))) \
              $(CPPFLAGS) $(CFLAGS)
ifdef SAN
ALL_CFLAGS += -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
endif
# SIMD=plain, avx2 or avx512: only that version of the loops that lib/base/simd.h has cloned.
CLONE_BITS_plain  := 0
CLONE_BITS_avx2   := 256
CLONE_BITS_avx512 := 512
CLONE_plain  :=
CLONE_avx2   := __attribute__((target("avx2")))
CLONE_avx512 := __attribute__((target("arch=x86-64-v4")))
ifdef SIMD
ALL_CFLAGS += '-DTV_CLONE=$(CLONE_$(SIMD))' -DTV_CLONE_BITS=$(CLONE_BITS_$(SIMD))
endif
# The library in this place or, if there is none, only its name.
library  = $(shell $(CC) -print-file-name=$(1))
# Since its version 6, msgpack's library for C has a hyphen.
MSGPACK := $(if $(findstring /,$(call library,libmsgpack-c.so)),-lmsgpack-c,-lmsgpackc)
LIBS    := -Wl,--as-needed -larchive -ljansson -lyaml $(MSGPACK) -lxxhash -ldl -lm
BIN     := $B/bin

# BUNDLE=1: programs that contain the libraries, and the shared ones in a folder beside them, for
# other distributions with glibc. (The static libxxhash does not choose by processor.)
ifdef BUNDLE
BIN     := $B/bundle
SHARED  := libxxhash.so.0 libopenblas.so.0 libgfortran.so.5 libquadmath.so.0
LIBS    := -static-libgcc -s \
           -Wl,--gc-sections,--disable-new-dtags,-rpath,'$$ORIGIN/lib:$$ORIGIN/../libexec/tvtools/lib' \
           -Wl,--as-needed,-Bstatic -larchive -lnettle -lacl -llzma -lzstd -llz4 -lbz2 -lz -ljansson -lyaml \
           $(MSGPACK) -Wl,-Bdynamic -lxxhash -ldl -lm
endif

FILTERS  := $(filter-out tv,$(basename $(notdir $(wildcard filters/*.c))))
LIB_OBJS := $(patsubst %.c,$B/%.o,$(filter-out %/main.c,$(wildcard lib/*/*.c)))
PROGRAMS := $(addprefix $(BIN)/,$(FILTERS) tv)
UNITS    := $(patsubst tests/unit/%.c,$B/unit/%,$(wildcard tests/unit/*.c))
symbol    = filter_$(subst -,_,$(1))

all: $(PROGRAMS)

$B/lib/%.o: lib/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

$B/share/%.o: share/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

$B/filters/%.o: filters/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

# A filter's program: its descriptor and the library's main.
$B/main/%.o: lib/runner/main.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -DFILTER=$(call symbol,$*) -c -o $@ $<

$(if $(BUNDLE),$(PROGRAMS): $B/share/packaging/arc4random_buf.o)

$B/libtv.a: $(LIB_OBJS)
	@rm -f $@
	$(AR) rcs $@ $^

$(BIN)/%: $B/main/%.o $B/filters/%.o $B/libtv.a
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

$(BIN)/tv: $B/filters/tv.o $B/all-filters.o $(FILTERS:%=$B/filters/%.o) $B/libtv.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -o $@ $^ $(LDFLAGS) $(LIBS)

$B/unit/%: tests/unit/%.c $B/libtv.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -Itests/unit -o $@ $< $B/libtv.a $(LDFLAGS) $(LIBS)

# It checks the options of all filters.
$B/unit/test_command_line: tests/unit/test_command_line.c $B/all-filters.o \
                           $(FILTERS:%=$B/filters/%.o) $B/libtv.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -Itests/unit -o $@ $(filter %.c %.o %.a,$^) $(LDFLAGS) $(LIBS)

$B/bench/%: tests/bench/%.c $B/libtv.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -o $@ $< $B/libtv.a $(LDFLAGS) $(LIBS)

units: $(UNITS)

# All sources through another compiler, for its warnings: make syntax CC=clang. (FUZZED=1: without those
# that clang compiles for make fuzz.)
syntax: $B/all-filters.c
	@printf '%s\0' $(filter-out $(if $(FUZZED),$(FUZZ_SOURCES)),$(wildcard lib/*/*.c filters/*.c tests/unit/*.c \
	    tests/bench/*.c)) $< | xargs -0 -P 2 -n 20 \
	    $(CC) $(filter-out -MMD -MP,$(ALL_CFLAGS)) -Itests/unit -DFILTER=filter_trim -fsyntax-only

# libFuzzer targets, compiled by clang into a build folder of their own: with sanitizers, or without
# (FUZZ=plain), which runs several times as many inputs a second.
FUZZ_B          := build-fuzz$(if $(FUZZ),-$(FUZZ))
FUZZ_FLAGS      := -O1 -gline-tables-only -fno-omit-frame-pointer \
                   -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize=function \
                   -fno-sanitize-recover=undefined -Wno-pass-failed
ifeq ($(FUZZ),plain)
FUZZ_FLAGS      := -O2 -gline-tables-only -fsanitize=fuzzer-no-link \
                   -fno-sanitize-coverage=trace-cmp,indirect-calls,stack-depth
endif
FUZZ_TARGETS    := $(patsubst tests/fuzz/%.c,$B/fuzz/%,$(wildcard tests/fuzz/*.c))

# Of the layers that compute only what the targets reach, which halves the time of the build. An
# "undefined reference" names what is missing here.
FUZZ_SOURCES    := $(filter-out $(addprefix lib/,kern/magnitude% kern/vector% linalg/% spectral/% runner/% lm/% calibrate/% verify/% tune/%),$(wildcard lib/*/*.c)) \
    $(addprefix lib/runner/,block_buffers.c block_layout.c change_counts.c collected_hashes.c finite_check.c pipeline.c \
        process_stats.c runner_state.c source_sink_services.c tensor_buffer.c) \
    $(addprefix lib/lm/,arch.c arch_config.c config_json.c decoder_config.c model_weights.c \
        rope.c rope_config.c sample.c sample_image_reader.c samples.c token_batch.c \
        vision_config.c weight_kind.c) \
    $(addprefix lib/calibrate/,adamw.c calibrate_options.c coefficient_init.c coefficients.c \
        training_state.c vector_history.c) \
    lib/kern/vector_math.c lib/linalg/matrix.c lib/linalg/openblas.c lib/spectral/matrix_filter.c \
    filters/fisher.c filters/regmean.c
FUZZ_SHARED     := $(patsubst %.c,$B/%.o,$(wildcard tests/fuzz/shared/*.c))

$B/tests/%.o: tests/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

$B/libfuzz.a: $(FUZZ_SOURCES:%.c=$B/%.o) $(FUZZ_SHARED)
	@rm -f $@
	$(AR) rcs $@ $^

$B/fuzz/%: tests/fuzz/%.c $B/libfuzz.a
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -Itests/fuzz/shared -fsanitize=fuzzer -o $@ $(filter %.c %.o %.a,$^) $(LDFLAGS) \
	    $(addprefix -Wl$(,)--wrap=,$(FUZZ_WRAP)) $(LIBS)

# Functions that the targets replace (tests/fuzz/shared/files.c). A configuration is translated without
# looking for its models.
, := ,
FUZZ_WRAP := read_files_add input_file_exists mapped_file_open mapped_file_close \
             mapped_file_release_pages mapped_file_release_pages_sequentially fopen fileno \
             fs_read_file
$B/fuzz/yaml: FUZZ_WRAP += model_source_open model_modules_read_type model_modules_find_stack \
    ckpt_open realpath
$B/fuzz/records: FUZZ_WRAP += fs_replace_file
$B/fuzz/tokenizer $B/fuzz/chat: FUZZ_WRAP += ckpt_read_model_file
$B/fuzz/update: FUZZ_WRAP += printable_message
$B/fuzz/frontmatter: FUZZ_WRAP += model_source_checkpoint model_source_fingerprint \
    ckpt_read_auxiliary_file ckpt_read_model_file hf_cache_find_snapshot
$B/fuzz/plan: FUZZ_WRAP += $(addprefix partial_checkpoint_,read_work_file layout set_layout \
    target_name set_guard replaces_target check_shard record find_foreign_record publish)

fuzz-targets: $(FUZZ_TARGETS)

# ---- what README.md offers -----------------------------------------------------------------------

# Installs what is missing where that is allowed, else says what to install.
packages:
	@if ! command -v apt-get >/dev/null; then \
	    printf '#include <%s.h>\n' archive jansson msgpack xxhash yaml | $(CC) -fsyntax-only -x c - 2>/dev/null || { \
	        echo "Missing: a C compiler, or the headers of libarchive, jansson, libyaml, msgpack-c or xxHash; to" \
	            "test, also Random123, OpenBLAS, bats, GNU parallel, zstd, gnuplot, Open MPI, and Python with numpy" \
	            "and msgpack (Fedora: dnf install gcc libarchive-devel jansson-devel libyaml-devel msgpack-devel" \
	            "xxhash-devel; Arch: pacman -S gcc libarchive jansson libyaml msgpack-c xxhash)."; exit 1; }; \
	    exit; \
	fi; \
	missing=$$(dpkg-query -W -f '$${db:Status-Status} $${Package}\n' $(PACKAGES) 2>&1 | \
	    sed -n 's/^not-installed //p; s/.*no packages found matching //p' | tr '\n' ' '); \
	if [ -n "$$missing" ]; then \
	    install="apt-get install -y --no-install-recommends $$missing"; \
	    if [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$install; \
	    elif sudo -n true 2>/dev/null; then sudo apt-get update -qq && sudo $$install; \
	    else echo "These packages are missing: sudo apt-get install $$missing"; exit 1; fi; \
	fi

demo: PACKAGES := $(BUILD_PACKAGES)
demo: packages
	@$(MAKE) --no-print-directory -j"$$(nproc)" all
	@share/demo/run

# What follows the build of the programs takes 740 s of CPU time on a Xeon of 2.0 GHz; faster processors need half of that.
check: packages
	$(if $(SAN),,@p=$$(nproc) && echo "This takes about $$(((800 / p + 59) / 60)) minutes on $$p processors.")
	@$(MAKE) --no-print-directory -j"$$(nproc)" all units
	@tests/check $B

# The programs write the seed corpora.
fuzz: packages
	@$(MAKE) --no-print-directory packages PACKAGES="clang libclang-rt-14-dev"
	@$(MAKE) --no-print-directory all
	@$(MAKE) --no-print-directory B=$(FUZZ_B) CC="$(if $(findstring ccache,$(CC)),ccache )clang" \
	    CFLAGS="$(FUZZ_FLAGS)" fuzz-targets

# Every injected fault, thousands of kills, power failures: an hour or more.
check-long: packages
	@$(MAKE) --no-print-directory all
	@tests/check-long $B

bench: packages
	@$(MAKE) --no-print-directory all $B/bench/kernels $B/bench/floor
	@tests/bench/run $(BENCH)

bench-calibrate: packages
	@$(MAKE) --no-print-directory all
	@tests/bench/calibrate $(BENCH)

bench-scale: packages
	@$(MAKE) --no-print-directory all
	@tests/bench/scale $(BENCH)

# Merges share/demo, the families in GOLDEN, and those that `make families` has trained, by all methods and
# compares them: share/evidence.md. What is done is not run again. EVIDENCE='FAMILY...' for other families.
EVIDENCE ?= share/demo $(wildcard $(addprefix $(GOLDEN)/expert-merging/,$(if $(GOLDEN),t1 t1-seed2))) \
    $(foreach f,$(patsubst %/family.json,%,$(wildcard $B/families/*/family.json)),$(addprefix $f,$(SUBSETS_$(notdir $f))) $f)
evidence: packages
	@$(MAKE) --no-print-directory all
	@share/evidence/run $(EVIDENCE)
	@share/evidence/table

# Families that the defaults were not chosen on, trained by torch in PYTHON: make families PYTHON=venv/bin/python.
# Of the eight experts the first two and the first four are merged as well.
TRAIN_toy3    := --seed 3
TRAIN_toy4    := --seed 4
TRAIN_ciphers := --seed 6 --tasks mirror,double,swap
TRAIN_eight   := --seed 5 --tasks rev,sort,shift,swap,double,skip,mirror,upper
TRAIN_wild    := --seed 7 --wild
SUBSETS_eight := :2 :4
families: $(patsubst TRAIN_%,$B/families/%/family.json,$(filter TRAIN_%,$(.VARIABLES)))

PYTHON ?= python3
$B/families/%/family.json: | share/evidence/train-family
	@rm -rf $(@D)
	@mkdir -p $(dir $(@D))
	$(PYTHON) share/evidence/train-family $(TRAIN_$*) $(@D)

# The filters live in a folder of their own, because names such as combine belong to others too;
# tv, on PATH, runs them.
INSTALL_BIN := $(DESTDIR)$(PREFIX)/bin
INSTALL_LIB := $(DESTDIR)$(PREFIX)/libexec/tvtools
INSTALL_DOC := $(DESTDIR)$(PREFIX)/share
INSTALL_ZSH := $(INSTALL_DOC)/zsh/$(or $(ZSH_FOLDER),site-functions)
install: all
	install -d "$(INSTALL_BIN)" "$(INSTALL_LIB)/pipelines" "$(INSTALL_DOC)/tvtools/etl" "$(INSTALL_DOC)/tvtools/engines" \
	    "$(INSTALL_DOC)/bash-completion/completions" "$(INSTALL_ZSH)" "$(INSTALL_DOC)/fish/vendor_completions.d"
	install -m 755 $(BIN)/tv "$(INSTALL_BIN)"
	install -m 755 $(FILTERS:%=$(BIN)/%) "$(INSTALL_LIB)"
	$(if $(BUNDLE),install -D -m 644 -t "$(INSTALL_LIB)/lib" $(wildcard $(foreach l,$(SHARED),$(call library,$l))))
	$(if $(BUNDLE),for p in $(BUNDLED); do \
	    install -D -m 644 /usr/share/doc/$$p/copyright "$(INSTALL_DOC)/tvtools/licenses/$$p" || exit 1; \
	done)
	install -m 755 $(filter-out %.md %/pictures,$(wildcard pipelines/*)) "$(INSTALL_LIB)/pipelines"
	for n in 1 5 7; do \
	    install -D -m 644 -t "$(INSTALL_DOC)/man/man$$n" share/man/*.$$n || exit 1; \
	done
	install -m 644 share/*.md "$(INSTALL_DOC)/tvtools"
	install -D -m 644 LICENSE "$(INSTALL_DOC)/tvtools/licenses/tvtools"
	install -D -m 644 -t "$(INSTALL_DOC)/tvtools/evidence" share/evidence/cost.svg
	install -D -m 644 -t "$(INSTALL_DOC)/tvtools/evidence/results" share/evidence/results/*.tsv
	sed 's|(\.\./share/|(|g' pipelines/README.md > "$(INSTALL_DOC)/tvtools/pipelines.md"
	chmod 644 "$(INSTALL_DOC)/tvtools/pipelines.md"
	install -D -m 644 -t "$(INSTALL_DOC)/tvtools/pictures" pipelines/pictures/*.svg
	for f in $(filter-out %/__pycache__ %/build %.egg-info,$(wildcard share/etl/*)); do \
	    install -m $$([ -x $$f ] && echo 755 || echo 644) $$f "$(INSTALL_DOC)/tvtools/etl" || exit 1; \
	done
	install -m 755 share/engines/* "$(INSTALL_DOC)/tvtools/engines"
	for f in $(patsubst share/%,%,$(wildcard share/demo/*/*)); do \
	    install -D -m 644 share/$$f "$(INSTALL_DOC)/tvtools/$$f" || exit 1; \
	done
	install -m 755 share/demo/run "$(INSTALL_DOC)/tvtools/demo"
	install -m 644 share/completions/tvtools.bash \
	    "$(INSTALL_DOC)/bash-completion/completions/tv"
	install -m 644 share/completions/_tvtools "$(INSTALL_ZSH)"
	install -m 644 share/completions/tvtools.fish "$(INSTALL_DOC)/fish/vendor_completions.d/tv.fish"

uninstall:
	rm -f "$(INSTALL_BIN)/tv" "$(INSTALL_DOC)/bash-completion/completions/tv" \
	    "$(INSTALL_ZSH)/_tvtools" "$(INSTALL_DOC)/fish/vendor_completions.d/tv.fish"
	rm -rf "$(INSTALL_LIB)" "$(INSTALL_DOC)/tvtools"
	for n in 1 5 7; do \
	    (cd share/man && for page in *.$$n; do rm -f "$(INSTALL_DOC)/man/man$$n/$$page"; done); \
	done

# The sources of this commit; the same bytes every time.
DIST    := tvtools-$(VERSION)
ARCHIVE := git archive --format=tar --prefix=$(DIST)/ HEAD
dist:
	$(ARCHIVE) | gzip -9n > $(DIST).tar.gz

# A wheel for the platform that CC compiles for: what `make install BUNDLE=1` installs, and the stream
# module. (A cross-compiler needs a B of its own, and PACKAGES= because its libraries are another architecture's.)
wheel: PACKAGES := $(BUILD_PACKAGES) $(WHEEL_PACKAGES)
wheel: packages
	@rm -rf $B/wheel
	@$(MAKE) --no-print-directory -s install BUNDLE=1 DESTDIR=$B/wheel PREFIX=
	@share/packaging/wheel $(VERSION) "$$($(CC) -dumpmachine)" $B/wheel .

# The Debian packages whose libraries a wheel contains.
bundled:
	@echo $(BUNDLED)

# Debian packages of this commit, in build/deb. PREBUILT=1: only the binary package, of the programs in build/bin,
# if they are up to date. (Those that dpkg-buildpackage compiles have Debian's flags.)
DEB := $B/deb/$(DIST)
deb: PACKAGES := $(BUILD_PACKAGES) $(DEB_PACKAGES)
deb: packages
	@rm -rf $B/deb
	@mkdir -p $B/deb
	$(ARCHIVE) | tar -C $B/deb -x
ifdef PREBUILT
	mkdir $(DEB)/build
	cp -a $(wildcard $(addprefix $B/,all-filters.* libtv.a bin filters lib main)) $(DEB)/build
	cd $(DEB) && dpkg-buildpackage -us -uc -b -nc
else
	$(ARCHIVE) | gzip -9n > $B/deb/tvtools_$(VERSION).orig.tar.gz
	cd $(DEB) && dpkg-buildpackage -us -uc
endif

help:
	@echo 'make demo           merge the models in share/demo by several methods and compare them'; \
	echo 'make check          build everything and run the tests'; \
	echo 'make                build the programs in build/bin'; \
	echo 'make install        install in PREFIX (default /usr/local); DESTDIR for packages'; \
	echo 'make uninstall      remove what make install has installed'; \
	echo 'make dist           write $(DIST).tar.gz'; \
	echo 'make wheel          write a Python wheel with the programs and the libraries'; \
	echo 'make deb            write Debian packages in build/deb'; \
	echo 'make new-filter     NAME=my-filter: a filter that works, with man page and tests'; \
	echo 'make bench          compare with mergekit (also bench-calibrate, bench-scale)'; \
	echo 'make evidence       compare all methods on several families; families: train them'; \
	echo 'make check-long     every injected fault, kills, power failures: an hour'; \
	echo 'make fuzz           build the fuzz targets'

# A filter that works, with man page and tests, to start from: make new-filter NAME=my-filter
new-filter:
	@share/skeleton/new-filter "$(NAME)"

clean:
	rm -rf build build-*

# No rule makes the dependency files that the compiler writes.
%.d: ;
-include $(wildcard $B/lib/*/*.d $B/share/*/*.d $B/tests/*/*/*.d $B/*/*.d $B/*.d)
.SECONDARY:
.PHONY: all units syntax fuzz fuzz-targets packages demo check check-long bench bench-calibrate bench-scale evidence families \
    install uninstall dist bundled wheel deb help new-filter clean
