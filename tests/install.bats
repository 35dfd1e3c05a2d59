#!/usr/bin/env bats
# What `make install` installs, and that it works.
load common
load lesson

# installed: installs below $T/root
installed() {
    local san=''
    [ "${BUILD:-build}" = build ] || san=SAN=1
    make -s -C "$ROOT" install DESTDIR="$T/root" PREFIX=/usr $san
}

# as_newcomer LINE: runs it with that installation only
as_newcomer() {
    env -i HOME="$T" PATH="$T/root/usr/bin:/usr/bin:/bin" bash -euo pipefail -c "$1"
}

@test "installed filters, pipelines and pages are found" {
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

@test "Python's cache folders are not installed" {
    mkdir -p "$ROOT/share/etl/__pycache__"
    installed
    rmdir --ignore-fail-on-non-empty "$ROOT/share/etl/__pycache__"
    [ -x root/usr/share/tvtools/etl/clip-outliers ]
    [ ! -e root/usr/share/tvtools/etl/__pycache__ ]
}
