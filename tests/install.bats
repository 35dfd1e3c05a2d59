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

@test "what is installed can be uninstalled" {
    installed
    touch root/usr/share/man/man1/other.1
    make -s -C "$ROOT" uninstall DESTDIR="$T/root" PREFIX=/usr >/dev/null
    [ "$(find root -type f)" = root/usr/share/man/man1/other.1 ]
}

@test "all places have the version of the Makefile" {
    version=$(sed -n 's/^VERSION := //p' "$ROOT/Makefile")
    grep -qx "version: $version" "$ROOT/CITATION.cff"
    grep -q "$version" "$ROOT/CHANGELOG.md"
    tv --version | grep -qx "tvtools $version"
}

@test "make help lists targets of the Makefile" {
    make -s -C "$ROOT" help | awk '{ print $2 ~ /^[a-z][a-z-]+$/ ? $2 : "all" }' | while read -r target; do
        make -n -C "$ROOT" "$target" PACKAGES= >/dev/null || wrong "no target $target"
    done
}

@test "Python's cache folders are not installed" {
    mkdir -p "$ROOT/share/etl/__pycache__"
    installed
    rmdir --ignore-fail-on-non-empty "$ROOT/share/etl/__pycache__"
    [ -x root/usr/share/tvtools/etl/clip-outliers ]
    [ ! -e root/usr/share/tvtools/etl/__pycache__ ]
}
