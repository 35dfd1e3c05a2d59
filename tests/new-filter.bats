#!/usr/bin/env bats
# make new-filter: the filter that it writes compiles without warnings and passes its own tests.
# Each test works in a copy of the tree, $T, that has no other filters and shares lib and its objects.
load common

BUILD=${BUILD:-build}

setup() {
    own_folder
    mkdir -p filters tests share/man "$BUILD"
    ln -s "$ROOT"/{Makefile,lib,README.md} .
    ln -s "$ROOT"/share/{skeleton,completions} share
    ln -s "$ROOT"/share/man/tvtools.7 share/man
    ln -s "$ROOT"/tests/{*.bash,*.py,man.bats,golden} tests
    ln -s "$ROOT/$BUILD"/{lib,libtv.a} "$BUILD"
}

# build NAME: with warnings as errors, as the tree under test was built
build() {
    local san=
    [ "$BUILD" = build ] || san=SAN=1
    make -s $san CFLAGS="-O1 -Werror" "$BUILD/bin/$1"
}

# own_bats FILE ARGUMENT...: bats on a file of the copy
own_bats() {
    env -u TESTS -u ROOT -u GOLDEN -u DEMO BUILD="$BUILD" bats "tests/$1" "${@:2}"
}

@test "a new filter compiles without warnings and passes its tests" {
    make -s new-filter NAME=my-filter
    build my-filter
    own_bats my-filter.bats
}

@test "its man page has the options of --help and no faults" {
    make -s new-filter NAME=my-filter
    build my-filter
    own_bats man.bats --filter "every filter has a page"
    ! command -v mandoc >/dev/null || mandoc -T lint -W warning share/man/my-filter.1
}

@test "tests/man.bats says what else a new filter needs" {
    make -s new-filter NAME=my-filter
    run -1 own_bats man.bats --filter "the overview, README"
    [[ $output == *"missing: my-filter in tvtools.7 my-filter in README.md"* ]]
}

@test "the example in filter.h is a filter" {
    sed -n '/^ \*     #include "filter.h"/,/};$/s/^ \*\( \{5\}\|$\)//p' lib/filter/filter.h >filters/negate.c
    build negate
    printf 'kind task-vectors\nmodel m\ntensor w 2\nvector m\n1 -2\n' | from-text |
        "$BUILD/bin/negate" | tv-view --values | grep -Fx -- '-1 2'
}

@test "new-filter overwrites nothing and refuses names that are none" {
    echo mine >tests/my-filter.bats
    run -2 --separate-stderr make -s new-filter NAME=my-filter
    # shellcheck disable=SC2154 # set by run
    [[ $stderr == *"tests/my-filter.bats exists"* ]]
    [ ! -e filters/my-filter.c ]
    [ "$(cat tests/my-filter.bats)" = mine ]
    for name in "" My-Filter 2slow my_filter my- ../x; do
        run -2 --separate-stderr make -s new-filter NAME="$name"
        [[ $stderr == *"is not a name"* ]]
    done
}

@test "the files that CONTRIBUTING.md names exist" {
    grep -o '`[a-z0-9_/.-]*/[a-z0-9_.-]*`' "$ROOT/CONTRIBUTING.md" | tr -d '\140' |
        grep -v 'my-filter\|^build/' | sort -u >named
    [ "$(wc -l <named)" -gt 20 ]
    while read -r file; do
        [ -e "$ROOT/$file" ] || missing+=" $file"
    done <named
    [ -z "${missing-}" ] || { echo "missing:$missing" && false; }
}
