# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by the plotting scripts, after arguments.sh. `work` is their temporary folder.

# die MESSAGE
die() {
    echo "$name: $1" >&2
    exit 1
}

# is_plot FILE: is it empty, an SVG file of gnuplot or plot-tensors, or a PNG file?
is_plot() {
    [ -s "$1" ] || return 0
    case $1 in
    *.svg) head -c 1000 "$1" | grep -c 'Produced by GNUPLOT\|drawn by plot-tensors' >/dev/null ;;
    *) [ "$(head -c 4 "$1" | tail -c 3)" = PNG ] ;;
    esac
}

# check_files IN OUT: checks, before any work, that IN can be read and OUT can be written. Makes IN, unless
# it is -, the standard input of the script; messages call it `label`.
check_files() {
    label=$1
    if [ "$1" = - ]; then
        label="standard input"
    else
        [ -r "$1" ] || die "cannot read $1"
        exec <"$1"
    fi
    case $2 in
    '' | *.svg | *.png) ;;
    *) fail "$2: expected a name that ends in .svg or .png" ;;
    esac
    [ -d "$(dirname "$2")" ] || die "cannot write $2: its folder does not exist"
    is_plot "$2" || die "cannot write $2: it exists and is not a plot; write to another file, or remove it first"
}

# publish_plot OUT: makes the file plot in $work the contents of OUT, atomically
publish_plot() {
    local partial
    partial=$(mktemp "$1.XXXXXX")
    cat "$work/plot" >"$partial"
    chmod "$(printf %o $((0666 & ~$(umask))))" "$partial"
    mv "$partial" "$1"
}

# run_gnuplot OUT WIDTH HEIGHT <SCRIPT: writes the plot to OUT, in pixels, atomically; if OUT is empty,
# prints it to the terminal, in characters
run_gnuplot() {
    local terminal script
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
        publish_plot "$1"
    fi
}

# For awk, with the variables name and input: ends with the message. An END rule runs nevertheless, and
# finds `failed` set.
awk_stop='
    function stop(message) {
        printf "%s: %s: %s\n", name, input, message > "/dev/stderr"
        failed = 1
        exit 1
    }'

# ---- heat maps of layers and kinds of tensors -----------------------------------------------------
#
# $work/kinds has the names of the rows, $work/cells a block of lines per heat map, blocks separated by
# two empty lines. A line has six fields: map (from 1), row, column (the layer; -1 outside the layers),
# begin and end of the stripe (0 to 1; a cell may have several), value.

# For awk: the layer in the name of a tensor, -1 outside the layers; and its kind, what follows the layer.
awk_names='
    function layer_of(tensor) {
        return match(tensor, /\.[0-9]+\./) ? substr(tensor, RSTART + 1) + 0 : -1
    }
    function kind_of(tensor) {
        if (match(tensor, /\.[0-9]+\./)) tensor = substr(tensor, RSTART + RLENGTH)
        sub(/\.weight$/, "", tensor)
        return tensor
    }'

# For awk: strings of JSON. string_after(text, key) is the string that follows key, as it is printed.
awk_json='
    function string_after(text, key,    at, value) {
        at = index(text, key)
        if (!at || !match(value = substr(text, at + length(key)), /^"([^"\\]|\\.)*"/)) return ""
        value = substr(value, 2, RLENGTH - 2)
        gsub(/\\u[0-9a-f][0-9a-f][0-9a-f][0-9a-f]/, "?", value)
        gsub(/\\"/, "\"", value)
        gsub(/\\\\/, "\\", value)
        return value
    }
    function number_after(text, key,    at) {
        at = index(text, "\"" key "\": ")
        text = substr(text, at + length(key) + 4)
        return at && match(text, /^-?[0-9.]+(e[-+]?[0-9]+)?/) ? substr(text, 1, RLENGTH) : "null"
    }'

# print_maps FORMAT LOW HIGH SKIPPED NAMES: prints heat maps as numbers, as means over stripes, with colors on
# a terminal: those named in the file NAMES, which follow SKIPPED others
print_maps() {
    local colors=0
    if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then colors=1; fi
    awk -v colors=$colors -v format="$1" -v low="$2" -v high="$3" -v first="$first" -v last="$last" -v skipped="$4" -v names="$5" '
        # Colors from dark blue to yellow.
        function color(text, x,    step, hues) {
            if (!colors) return text
            split("17 18 25 31 37 43 78 113 149 185 227", hues, " ")
            step = 1 + int(10 * (x - low) / (high - low) + 0.5)
            return "\033[48;5;" hues[step] ";38;5;" (step < 6 ? 255 : 16) "m" text "\033[0m"
        }
        FILENAME ~ /kinds$/ { kinds[++n] = $0; if (length($0) > width) width = length($0); next }
        FILENAME == names { maps[++K] = $0; if (length($0) > width) width = length($0); next }
        NF { sum[$1 - skipped, $2 + 1, $3] += $6 * ($5 - $4) }
        END {
            left = "%-" width "s"
            match(format, /[0-9]+/)
            wide = substr(format, RSTART, RLENGTH)
            for (e = 1; e <= K; e++) {
                printf "%s" left, (e > 1 ? "\n" : ""), maps[e]
                for (l = first; l <= last; l++) printf " %" wide "s", (l < 0 ? "-" : l)
                for (k = 1; k <= n; k++) {
                    printf "\n" left, kinds[k]
                    for (l = first; l <= last; l++)
                        if ((e, k, l) in sum) printf " %s", color(sprintf(format, sum[e, k, l]), sum[e, k, l])
                        else printf " %" wide "s", ""
                }
                print ""
            }
        }' "$work/kinds" "$5" "$work/cells" | sed 's/ *$//'
}

# quoted TEXT: as a string of gnuplot
quoted() {
    printf "'%s'" "${1//\'/\'\'}"
}

# fraction PIXELS ALL: of the plot's width or height, as gnuplot's screen coordinate
fraction() {
    awk -v a="$1" -v b="$2" 'BEGIN { printf "%.5f", a / b }'
}

# tics PLACE NAME PLACE NAME...
tics() {
    local comma=''
    while [ $# -gt 0 ]; do
        printf '%s%s %d' "$comma" "$(quoted "$2")" "$1"
        comma=', '
        shift 2
    done
}

# place_panel LEFT TOP WIDTH HEIGHT: where the next plot is, in pixels
place_panel() {
    cat <<END
set lmargin at screen $(fraction "$1" "$width")
set rmargin at screen $(fraction $(($1 + $3)) "$width")
set tmargin at screen $(fraction $((height - $2)) "$height")
set bmargin at screen $(fraction $((height - $2 - $4)) "$height")
END
}

heat_map_style() {
    cat <<END
set multiplot
set border 0
set tics scale 0 nomirror
unset key
set style fill solid noborder
set palette defined (0 '#440154', 1 '#414487', 2 '#2a788e', 3 '#22a884', 4 '#7ad151', 5 '#fde725')
END
}

# plot_map NUMBER: the heat map of that number, from 0
plot_map() {
    cat <<END
plot '$work/cells' index $1 using 3:2:(\$3-0.47+0.94*\$4):(\$3-0.47+0.94*\$5):(\$2-0.46):(\$2+0.46):6 \\
    with boxxyerror linecolor palette
END
}

# color_scale LEFT TOP HEIGHT LOW HIGH LABEL: of the next plot
color_scale() {
    cat <<END
set cbrange [$4:$5]
set cblabel $(quoted "$6")
set colorbox user origin screen $(fraction "$1" "$width"), screen $(fraction $((height - $2 - $3)) "$height") \\
    size screen $(fraction 16 "$width"), screen $(fraction "$3" "$height")
END
}

# The axes of a heat map of layers (from `first` to `last`) and `kinds`; a layer's column has `field` pixels.
layer_axes() {
    local layer_tics=() row_tics=() i step=$(((27 + field) / field)) # layers from one number to the next
    for i in "${!kinds[@]}"; do row_tics+=("$i" "${kinds[i]}"); done
    if [ "$first" = -1 ]; then layer_tics=(-1 -); fi
    for ((i = 0; i <= last; i += step)); do layer_tics+=("$i" "$i"); done
    cat <<END
set xrange [$first - 0.5:$last + 0.5]
set yrange [${#kinds[@]} - 0.5:-0.5]
set xtics ($(tics "${layer_tics[@]}"))
set ytics scale 0 nomirror ($(tics "${row_tics[@]}"))
set xlabel 'layer' offset 0,0.4
END
}

# choose_field: the width of a layer's column, from `first` and `last`
choose_field() {
    field=$((720 / (last - first + 1)))
    field=$((field < 14 ? 14 : field > 56 ? 56 : field))
}

# longest_line FILE: its length
longest_line() {
    awk 'length > n { n = length } END { print n + 0 }' "$1"
}
