#!/usr/bin/env bats
# What must hold whatever fails: tests/faults, one fault of each scenario and function. All of them, and
# more kills, are make check-long.
load common

setup() {
    own_folder
    [[ ${BUILD:-build} != *-san* ]] || skip "the sanitizers have a malloc of their own"
}

# holds PROGRAM OPTION...: of tests/faults
holds() {
    "$TESTS/faults/$1" "${@:2}" >found || { cat found && return 1; }
}

@test "a call that fails: whole and right, or nothing and one sentence" {
    holds faults.py --sample 1
}

@test "a signal: the target is whole, absent, or the old one" {
    holds kills.py --count 30
}

@test "a power failure: the target is whole, absent, or the old one" {
    holds power-loss.py --resume 2
}
