#!/usr/bin/env bats
# The order of the layers, and the check of it.
load common

# A tree of two layers, low and high, with a module each.
small_tree() {
    mkdir -p tests lib/low lib/high build/lib/low build/lib/high
    cp "$TESTS/layers" tests
    printf '| layer | what is there |\n|---|---|\n| `low` | |\n| `high` | |\n' >lib/README.md
    echo 'int low_value(void);' >lib/low/low.h
    printf '#include "low.h"\nint low_value(void) { return 1; }\n' >lib/low/low.c
    echo 'int high_value(void);' >lib/high/high.h
    printf '#include "high.h"\n#include "low.h"\nint high_value(void) { return low_value(); }\n' >lib/high/high.c
    compile_small_tree
}

compile_small_tree() {
    local source
    for source in lib/*/*.c; do
        cc -Ilib/low -Ilib/high -c -o "build/${source%.c}.o" "$source"
    done
}

@test "the tree keeps the order of the layers, without circular includes" {
    "$TESTS/layers" "${BUILD:-build}"
}

@test "an include of a later layer is reported" {
    small_tree
    tests/layers
    echo '#include "high.h"' >>lib/low/low.h
    run -1 tests/layers
    [[ $output == *"low/low includes high/high.h of a later layer"* ]]
}

@test "a circle of includes is reported" {
    small_tree
    echo '#include "other.h"' >>lib/low/low.h
    echo '#include "low.h"' >lib/low/other.h
    run -1 tests/layers
    [[ $output == *"a circle: low, other"* ]]
}

@test "a symbol of a later layer is reported, even without an include" {
    small_tree
    printf 'int high_value(void);\nint low_value(void) { return high_value(); }\n' >lib/low/low.c
    compile_small_tree
    run -1 tests/layers
    [[ $output == *"low/low needs high_value of a later layer"* ]]
}
