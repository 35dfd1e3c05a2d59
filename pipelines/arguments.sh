# shellcheck shell=bash disable=SC2034
# Sourced by the scripts in this folder: parses "$@" into options, BASE, EXPERT... and OUT.
#
# Before sourcing, a script sets
#   takes   the names of its own options, without --
#   flags   the names of those that have no value (default none)
#   a variable for each option, with the default: an array if the option takes rules and is repeatable,
#           else a plain variable (max_iter for --max-iter); a flag that was given is its own word
#   least   the minimum number of operands, OUT included (default 3)
#   ends    the common options that it accepts: "dtype out-dtype" (default; then also --force) or fewer
# Afterwards it can use
#   models  all operands but OUT; base is the first of them, experts are the others
#   out     the last operand
#   read_options, write_options    for the first and the last filter of the pipeline
# --help prints the script's own header comment.

here=$(dirname "$(realpath "$0")")
name=$(basename "$0")
if [ -x "$here/../tv-extract" ]; then # installed; tv is in another folder than the filters
    PATH=$here/..:$here/../../../bin:$PATH
elif [ -x "$here/../build/bin/tv-extract" ]; then
    PATH=$here/../build/bin:$PATH
fi

fail() {
    echo "$name: $1" >&2
    exit 2
}

help() {
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
    exit 0
}

all_ends="dtype out-dtype"
ends=${ends-$all_ends}
read_options=() write_options=() operands=() given=" "
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) help ;;
    --) shift && operands+=("$@") && break ;;
    --force)
        [ "$ends" = "$all_ends" ] || fail "unknown option $1 (see --help)"
        write_options+=(--force)
        ;;
    --?*)
        option=${1%%=*}
        variable=${option#--}
        case " ${flags-} " in *" ${1#--} "*)
            printf -v "${variable//-/_}" %s "$1"
            shift
            continue
            ;;
        esac
        if [ "$option" = "$1" ]; then
            [ $# -gt 1 ] || fail "$option needs a value"
            value=$2
            shift
        else
            value=${1#*=}
        fi
        case " $ends ${takes?} " in *" $variable "*) ;; *) fail "unknown option $option (see --help)" ;; esac
        variable=${variable//-/_}
        case $variable in
        dtype) read_options+=("--dtype=$value") ;;
        out_dtype) write_options+=("--dtype=$value") ;;
        *)
            if [[ $(declare -p "$variable") = "declare -a"* ]]; then
                declare -n list=$variable
                case $given in *" $variable "*) ;; *) list=() ;; esac
                list+=("$value")
                declare +n list
                given+="$variable "
            else
                printf -v "$variable" %s "$value"
            fi
            ;;
        esac
        ;;
    *) operands+=("$1") ;;
    esac
    shift
done
[ ${#operands[@]} -ge "${least:=3}" ] ||
    fail "expected at least $least operand$([ "$least" = 1 ] || echo s), found ${#operands[@]} (see --help)"
models=("${operands[@]::${#operands[@]}-1}")
base=${operands[0]}
out=${operands[-1]}
experts=("${operands[@]:1:${#operands[@]}-2}")
# What follows these is an operand, even if it begins with a dash.
read_options+=(--) write_options+=(--)
