# shellcheck shell=bash disable=SC2154
# Sourced by the plotting scripts, after arguments.sh. `work` is their temporary folder.

# die MESSAGE
die() {
    echo "$name: $1" >&2
    exit 1
}

# is_plot FILE: is it empty, an SVG file of gnuplot or a PNG file?
is_plot() {
    [ -s "$1" ] || return 0
    case $1 in
    *.svg) head -c 1000 "$1" | grep -c 'Produced by GNUPLOT' >/dev/null ;;
    *) [ "$(head -c 4 "$1" | tail -c 3)" = PNG ] ;;
    esac
}

# check_files IN OUT: checks, before any work, that IN can be read and OUT can be written
check_files() {
    [ -r "$1" ] || die "cannot read $1"
    case $2 in
    '' | *.svg | *.png) ;;
    *) fail "$2: expected a name that ends in .svg or .png" ;;
    esac
    [ -d "$(dirname "$2")" ] || die "cannot write $2: its folder does not exist"
    is_plot "$2" || die "cannot write $2: it exists and is not a plot; write to another file, or remove it first"
}

# run_gnuplot OUT WIDTH HEIGHT <SCRIPT: writes the plot to OUT, in pixels, atomically; if OUT is empty,
# prints it to the terminal, in characters
run_gnuplot() {
    local terminal script partial
    command -v gnuplot >/dev/null || die "gnuplot is not installed (Debian: apt-get install gnuplot-nox)"
    case $1 in
    *.svg) terminal="svg noenhanced size $2,$3 font 'sans-serif,12' background 'white'" ;;
    *.png) terminal="pngcairo noenhanced size $2,$3 font 'sans,10'" ;;
    *) terminal="dumb noenhanced size $2,$3" ;;
    esac
    script="set terminal $terminal"$'\n'$(cat)
    if [ -z "$1" ]; then
        gnuplot - <<<"$script" | sed 's/ *$//'
    else
        gnuplot - <<<"$script" >"$work/plot"
        partial=$(mktemp "$1.XXXXXX")
        cat "$work/plot" >"$partial"
        chmod "$(printf %o $((0666 & ~$(umask))))" "$partial"
        mv "$partial" "$1"
    fi
}
