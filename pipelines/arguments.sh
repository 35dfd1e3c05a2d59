# shellcheck shell=bash disable=SC2034
# Sourced by the scripts here: reads "$@" as options, BASE, EXPERT... and OUT.
#
# A script says its usage in its comment (--help prints it), names its options in `takes`, and gives
# each a variable with its default: an array for one that takes rules and may be repeated, a plain
# one otherwise (of --max-iter it is max_iter). `least` says how many operands are needed, OUT
# included (default 3). Afterwards there are `models` (all operands but OUT), `base` (the first of
# them), `experts` (the others) and `out`, and for the ends of the pipeline `read_options` (--dtype)
# and `write_options` (--out-dtype, --force).

here=$(dirname "$(realpath "$0")")
name=$(basename "$0")
for folder in "$here/.." "$here/../build/bin"; do # installed, built
    if [ -x "$folder/tv-extract" ]; then PATH=$folder:$PATH; fi
done

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
    --help) help ;;
    --) shift && operands+=("$@") && break ;;
    --force)
        [ "$ends" = "$all_ends" ] || fail "unknown option $1; --help says more"
        write_options+=(--force)
        ;;
    --?*)
        option=${1%%=*}
        if [ "$option" = "$1" ]; then
            [ $# -gt 1 ] || fail "$option needs a value"
            value=$2
            shift
        else
            value=${1#*=}
        fi
        variable=${option#--}
        case " $ends ${takes?} " in *" $variable "*) ;; *) fail "unknown option $option; --help says more" ;; esac
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
    fail "$least operand$([ "$least" = 1 ] || echo s) or more are needed; --help says more"
models=("${operands[@]::${#operands[@]}-1}")
base=${operands[0]}
out=${operands[-1]}
experts=("${operands[@]:1:${#operands[@]}-2}")
