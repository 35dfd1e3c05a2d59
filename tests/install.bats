#!/usr/bin/env bats
# What `make install` puts where, and that it works from there.
load common
load lesson

# installed: the tree below $T/root
installed() {
    local san=''
    [ "${BUILD:-build}" = build ] || san=SAN=1
    make -s -C "$ROOT" install DESTDIR="$T/root" PREFIX=/usr $san
}

# as_newcomer LINE: with no more than that installation
as_newcomer() {
    env -i HOME="$T" PATH="$T/root/usr/bin:/usr/bin:/bin" bash -euo pipefail -c "$1"
}

@test "filters, pipelines and pages are found where they are installed" {
    installed
    lesson >text
    # shellcheck disable=SC2016
    as_newcomer 'eval "$(tv env)"; from-text <text | trim --density 0.5 | check --quiet'
    as_newcomer '! command -v trim; tv from-text <text | tv combine | tv check --quiet'
    as_newcomer "tv pipeline ties $A/base $A/math $A/code out && tv diff out out"
    as_newcomer 'tv pipeline plot-losses --help' | grep -c '^plot-losses'
    for page in "$ROOT"/share/man/*.[157]; do
        cmp "$page" "root/usr/share/man/man${page##*.}/${page##*/}"
    done
    as_newcomer '. root/usr/share/bash-completion/completions/tv; complete -p tv' | grep -c -- '-F'
}

@test "what Python leaves beside its modules is not installed" {
    mkdir -p "$ROOT/share/etl/__pycache__"
    installed
    rmdir --ignore-fail-on-non-empty "$ROOT/share/etl/__pycache__"
    [ -x root/usr/share/tvtools/etl/clip-outliers ]
    [ ! -e root/usr/share/tvtools/etl/__pycache__ ]
}
