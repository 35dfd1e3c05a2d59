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
    sed -n 's/^!\[.*](\(.*\))$/\1/p' root/usr/share/tvtools/pipelines.md >pictures
    [ -s pictures ]
    (cd root/usr/share/tvtools && xargs ls <"$T/pictures" >/dev/null)
    # Links of the pages to each other and to pictures; ../ leads to the sources.
    grep -ohE '\]\([^)#:]+[)#]' root/usr/share/tvtools/*.md | sed 's/..//; s/.$//' | grep -v '^\.\./' | sort -u >links
    grep -cx evidence/cost.svg links
    grep -cx text.md links
    (cd root/usr/share/tvtools && xargs ls <"$T/links" >/dev/null)
    cmp "$ROOT/LICENSE" root/usr/share/tvtools/licenses/tvtools
    as_newcomer '. root/usr/share/bash-completion/completions/tv; complete -p tv' | grep -c -- '-F'
}

@test "the installed demo is the repository's" {
    installed
    [ -x root/usr/share/tvtools/demo/run ]
    for model in base expert-rev expert-sort; do
        diff -r "$ROOT/share/demo/$model" "root/usr/share/tvtools/demo/$model"
    done
    # Its first part, in the installation.
    as_newcomer 'root/usr/share/tvtools/demo/run 2>&1 | sed "/TIES/q"' >shown || true
    grep -F 'tv-extract share/tvtools/demo/base share/tvtools/demo/expert-{rev,sort,shift}' shown
    grep -E '^  \| rev +200' shown
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
    grep -qx "__version__ = \"$version\"" "$ROOT/share/etl/tvstream.py"
    head -n 1 "$ROOT/debian/changelog" | grep -qF "tvtools ($version-"
}

@test "without apt, make packages names the libraries that are missing" {
    mkdir bin
    ln -s "$(command -v make)" "$(command -v cc)" bin
    PATH=$T/bin run make -s -C "$ROOT" packages CC=/bin/false
    [ "$status" != 0 ]
    [[ $output == *"headers of libarchive, jansson"* ]]
    PATH=$T/bin run make -s -C "$ROOT" packages
    [ "$status" = 0 ] && [ -z "$output" ]
}

@test "make help lists targets of the Makefile" {
    make -s -C "$ROOT" help | awk '{ print $2 ~ /^[a-z][a-z-]+$/ ? $2 : "all" }' | while read -r target; do
        make -n -C "$ROOT" "$target" PACKAGES= >/dev/null || wrong "no target $target"
    done
}

@test "folders that Python makes are not installed" {
    local made=("$ROOT"/share/etl/{__pycache__,build,tvstream.egg-info})
    mkdir -p "${made[@]}"
    installed
    rmdir --ignore-fail-on-non-empty "${made[@]}"
    [ -x root/usr/share/tvtools/etl/clip-outliers ]
    [ ! -x root/usr/share/tvtools/etl/tvstream.py ]
    [ -z "$(find root/usr/share/tvtools/etl -mindepth 1 -type d)" ]
}

@test "pip installs share/etl" {
    local python=/usr/bin/python3
    "$python" -c 'import setuptools, wheel, pip' 2>/dev/null || skip "no pip, setuptools or wheel"
    mkdir package
    find "$ROOT/share/etl" -maxdepth 1 -type f -exec cp -t package {} +
    "$python" -m pip install -q --no-build-isolation --no-deps --no-index --target site ./package 2>log || { cat log; false; }
    export PYTHONPATH=$T/site PYTHONDONTWRITEBYTECODE=1
    [ "$(cd / && "$python" -c 'import importlib.metadata as m; print(m.version("tvstream"))')" = \
        "$(sed -n 's/^VERSION := //p' "$ROOT/Makefile")" ]
    for program in $(cd "$ROOT/share/etl" && grep -l '^#!' -- *); do
        [[ $program == *.* ]] || head -n 1 "site/bin/$program" | grep -c "^#!.*python"
    done
    lesson | from-text | site/bin/clip-outliers --quantile 0.8 >found.tvs
    lesson | from-text | "$python" "$ROOT/share/etl/clip-outliers" --quantile 0.8 | cmp - found.tvs
}
