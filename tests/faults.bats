#!/usr/bin/env bats
# What must hold whenever a process is killed. More kills, injected faults of every call, and power
# failures are make check-long.
load common

setup() {
    own_folder
    [[ ${BUILD:-build} != *-san* ]] || skip "the sanitizers have a malloc of their own"
}

# holds PROGRAM OPTION...: of tests/faults
holds() {
    "$TESTS/faults/$1" "${@:2}" >found || { cat found && return 1; }
}

@test "a signal: the target is whole, absent, or the old one" {
    holds kills.py --count 30
}
