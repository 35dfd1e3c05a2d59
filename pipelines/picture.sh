# shellcheck shell=bash disable=SC2154
# Sourced by the scripts that draw, behind arguments.sh. `work` is their scratch folder.

# die SENTENCE
die() {
    echo "$name: $1" >&2
    exit 1
}

# check_files IN OUT: nobody works for a picture that cannot be drawn
check_files() {
    [ -r "$1" ] || die "cannot read $1"
    case $2 in
    '' | *.svg | *.png) ;;
    *) fail "$2: a picture ends in .svg or .png" ;;
    esac
    [ -d "$(dirname "$2")" ] || die "cannot write $2: there is no such folder"
}

# draw OUT WIDTH HEIGHT <SCRIPT: gnuplot's script as a picture of so many pixels, complete or not at
# all; without OUT in characters on the terminal
draw() {
    local terminal script
    command -v gnuplot >/dev/null || die "gnuplot is needed for this (package gnuplot-nox)"
    case $1 in
    *.svg) terminal="svg noenhanced size $2,$3 font 'sans-serif,12' background 'white'" ;;
    *.png) terminal="pngcairo noenhanced size $2,$3 font 'sans,10'" ;;
    *) terminal="dumb noenhanced size $2,$3" ;;
    esac
    script="set terminal $terminal"$'\n'$(cat)
    if [ -z "$1" ]; then
        gnuplot - <<<"$script" | sed 's/ *$//'
    else
        gnuplot - <<<"$script" >"$work/picture"
        cp "$work/picture" "$1.partial" && mv "$1.partial" "$1"
    fi
}
