# shellcheck shell=bash
# Completion for tv, and for the filters under their own names (after eval "$(tv env)").
# Options and their choices are read from --help.

# _tvtools_argument OPTION COMMAND...: the argument of "OPTION=" in the command's --help
_tvtools_argument() {
    local option=$1
    shift
    "$@" --help 2>/dev/null | sed -n "s/^ \{2,6\}\(-., \)\{0,1\}$option=\([^ ]*\).*/\2/p"
}

# _tvtools_files WHAT PREFIX CURRENT: files (WHAT -f) or folders (-d)
_tvtools_files() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen "$1" -P "$2" -- "$3")
}

# _tvtools_value ARGUMENT PREFIX CURRENT: the value of an option
_tvtools_value() {
    case $1 in
    DTYPE) mapfile -t COMPREPLY < <(compgen -P "$2" -W "float32 bfloat16 float16 float64" -- "$3") ;;
    TYPE) mapfile -t COMPREPLY < <(compgen -P "$2" -W "float32 bfloat16 float16 float64 q8_0" -- "$3") ;;
    DIR) _tvtools_files -d "$2" "$3" ;;
    FILE | BASE | MODEL | MODEL=FILE) _tvtools_files -f "$2" "$3" ;;
    *[!a-z0-9\|]*) ;; # a number or a name
    *) mapfile -t COMPREPLY < <(compgen -P "$2" -W "${1//|/ }" -- "$3") ;;
    esac
}

# _tvtools_options CURRENT COMMAND...: options; those that take a value end in =
_tvtools_options() {
    local current=$1
    shift
    mapfile -t COMPREPLY < <(compgen -W "$("$@" --help 2>/dev/null |
        sed -n 's/^ \{2,6\}\(-., \)\{0,1\}\(--[a-z0-9-]*=\{0,1\}\).*/\2/p')" -- "$current")
    [[ ${COMPREPLY[0]-} != *= ]] || compopt -o nospace 2>/dev/null
}

# _tvtools_operands CURRENT COMMAND...: files, if an operand in the usage can be one
_tvtools_operands() {
    local current=$1 usage
    shift
    read -r usage < <("$@" --help 2>/dev/null)
    case " ${usage//[\[\].|]/ } " in
    *" MODEL "* | *" BASE "* | *" STREAM "* | *" FILE "* | *" OUT "* | *" A B "*)
        _tvtools_files -f "" "$current"
        ;;
    esac
}

# _tvtools_words COMMAND...: completes the word at the cursor for a filter
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

_tvtools_names() {
    "$1" --help 2>/dev/null | sed -n 's/^  \([a-z][a-z-]*\) .*/\1/p'
}

_tvtools_filter() {
    COMPREPLY=()
    _tvtools_words "$1"
}

_tvtools_tv() {
    local names
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then
        names=$(_tvtools_names "$1")
        mapfile -t COMPREPLY < <(compgen -W "$names run merge moe extract-lora finish verify tune from-yaml pipeline env --help --version" -- "$2")
    elif [ "${COMP_WORDS[1]}" != env ]; then
        _tvtools_words "$1" "${COMP_WORDS[1]}"
    fi
}

complete -F _tvtools_tv tv
for _tvtools_name in $(_tvtools_names tv); do
    complete -F _tvtools_filter "$_tvtools_name"
done
unset _tvtools_name
