# shellcheck shell=bash
# Completion for tv, and for the filters under their own names (after eval "$(tv env)").
# Names, options and their choices are read from --help.

# _tvtools_argument OPTION COMMAND...: the argument of OPTION in the command's --help
_tvtools_argument() {
    local option=$1
    shift
    "$@" --help 2>/dev/null | sed -n "s/^ \{2,6\}\(-., \)\{0,1\}${option}[= ]\([^ ]\{1,\}\).*/\2/p"
}

# _tvtools_files WHAT PREFIX CURRENT: files (WHAT -f) or folders (-d)
_tvtools_files() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen "$1" -P "$2" -- "$3")
}

# _tvtools_models PREFIX CURRENT: files, and the models in the Hub's cache
_tvtools_models() {
    _tvtools_files -f "$1" "$2"
    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -P "$1" -W "$(tv models 2>/dev/null)" -- "$2")
}

# _tvtools_value ARGUMENT PREFIX CURRENT: the value of an option
_tvtools_value() {
    case $1 in
    DTYPE) mapfile -t COMPREPLY < <(compgen -P "$2" -W "float32 bfloat16 float16 float64" -- "$3") ;;
    TYPE) mapfile -t COMPREPLY < <(compgen -P "$2" -W "float32 bfloat16 float16 float64 q8_0" -- "$3") ;;
    DIR) _tvtools_files -d "$2" "$3" ;;
    BASE | MODEL) _tvtools_models "$2" "$3" ;;
    FILE | MODEL=FILE) _tvtools_files -f "$2" "$3" ;;
    *[!a-z0-9_\|]*) ;; # a number or a name
    *) mapfile -t COMPREPLY < <(compgen -P "$2" -W "${1//|/ }" -- "$3") ;;
    esac
}

# _tvtools_options CURRENT COMMAND...: options; those with = take a value
_tvtools_options() {
    local current=$1
    shift
    mapfile -t COMPREPLY < <(compgen -W "$("$@" --help 2>/dev/null |
        sed -n 's/^ \{2,6\}\(-., \)\{0,1\}\(--[a-z0-9-]*=\{0,1\}\).*/\2/p')" -- "$current")
    [[ ${COMPREPLY[0]-} != *= ]] || compopt -o nospace 2>/dev/null
}

# _tvtools_operands CURRENT COMMAND...: files and models, if an operand in the usage can be one
_tvtools_operands() {
    local current=$1 usage
    shift
    usage=$("$@" --help 2>/dev/null | sed -n 's/^Usage: //p' | head -n 1)
    case " ${usage//[\[\].|]/ } " in
    *" MODEL "* | *" BASE "* | *" EXPERT "* | *" A B "*) _tvtools_models "" "$current" ;;
    *" STREAM "* | *" FILE "* | *" OUT "*) _tvtools_files -f "" "$current" ;;
    esac
}

# _tvtools_words COMMAND...: completes the word at the cursor for a filter, a command or a script
_tvtools_words() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    local option='' prefix='' argument
    case $current in
    =) option=$before current='' ;;
    --*=*) option=${current%%=*} prefix=$option= current=${current#*=} ;;
    *) [ "$before" != = ] || before=${COMP_WORDS[COMP_CWORD - 2]}
        case $before in
        --?*) option=$before ;;
        *) [ "$COMP_CWORD" -lt 4 ] || [ "${COMP_WORDS[COMP_CWORD - 1]}" != = ] ||
            case ${COMP_WORDS[COMP_CWORD - 3]} in # --gram MODEL=FILE
            --?*) option=${COMP_WORDS[COMP_CWORD - 3]} ;;
            esac ;;
        esac ;;
    esac
    argument=${option:+$(_tvtools_argument "$option" "$@")}
    if [ -n "$argument" ]; then
        _tvtools_value "$argument" "$prefix" "$current"
    elif [[ $current == -* ]]; then
        _tvtools_options "$current" "$@"
    else
        _tvtools_operands "$current" "$@"
    fi
}

# _tvtools_names COLUMN COMMAND...: the names that the command's help lists from this column on
_tvtools_names() {
    local column=$1
    shift
    "$@" 2>/dev/null | sed -n "s/^ \{$column\}\([a-z][a-z0-9_-]*\) \{2,\}.*/\1/p"
}

_tvtools_filter() {
    COMPREPLY=()
    _tvtools_words "$1"
}

_tvtools_tv() {
    local names=
    COMPREPLY=()
    case $COMP_CWORD-${COMP_WORDS[1]} in
    1-*) names="$(_tvtools_names 2 "$1" help) $(_tvtools_names 4 "$1" help) --help --version" ;;
    2-help) names="$(_tvtools_names 2 "$1" help) $(_tvtools_names 4 "$1" help) $(_tvtools_names 2 "$1" pipeline)" ;;
    2-pipeline) names=$(_tvtools_names 2 "$1" pipeline) ;;
    *-pipeline) _tvtools_words "$1" pipeline "${COMP_WORDS[2]}" ;;
    *-env | *-help | *-models) ;;
    *) _tvtools_words "$1" "${COMP_WORDS[1]}" ;;
    esac
    [ -z "$names" ] || mapfile -t COMPREPLY < <(compgen -W "$names" -- "$2")
}

complete -F _tvtools_tv tv
for _tvtools_name in $(_tvtools_names 4 tv help); do
    complete -F _tvtools_filter "$_tvtools_name"
done
unset _tvtools_name
