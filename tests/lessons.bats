#!/usr/bin/env bats
# The examples of pipelines/README.md: the programs print what the page says.
load common

LESSONS=$ROOT/pipelines/README.md

# The examples of "The basics" run once. Every other section finds their files and the input files of the whole text.
setup_file() {
    cd "$BATS_FILE_TMPDIR" || exit 1
    awk '/^```text / { file = $2; next } /^```/ { file = "" } file { print >file }' "$LESSONS"
    play "The basics"
}

setup() {
    own_folder
    cp "$BATS_FILE_TMPDIR"/* .
    eval "$(section "The basics" | sed -n 's/^\$ \([a-z]*() .*\)/\1/p')"
}

# section NAME: the text under that heading
section() {
    awk -v heading="## $1" '/^## / { on = $0 == heading } on' "$LESSONS"
}

# play NAME: runs the examples of a section: "$ COMMAND" and the lines that it prints
play() {
    local line on='' command='' expected='' examples=0
    while IFS= read -r line <&8; do
        if [ -n "$command" ] && [[ $line = '```' || $line = '$ '* ]]; then
            try "$command" "$expected"
            command='' expected='' examples=$((examples + 1))
        fi
        case $on$line in
        '```console') on=: ;;
        :'```') on='' ;;
        :'$ '*) command=${line#'$ '} ;;
        :*) expected+=$line$'\n' ;;
        esac
    done 8< <(section "$1")
    [ "$examples" -gt 0 ]
}

# try COMMAND EXPECTED: runs it in this shell, so that the next command has its functions
try() {
    echo "\$ $1"
    eval "$1" >.found 2>&1 8<&-
    printf %s "$2" | diff -u - .found
}

# filters: the filters among the words of its input
filters() {
    tr -cs 'a-z-' '\n' | sort -u | while read -r word; do
        [ -z "$word" ] || [ ! -x "$ROOT/${BUILD:-build}/bin/$word" ] || echo "$word"
    done
}

# Methods have the names of mergekit and the papers; a script with a hyphen is not a method.
@test "every method has a lesson with its stages, and every lesson a test" {
    for path in "$ROOT"/pipelines/*; do
        name=${path##*/}
        [ -x "$path" ] && [[ $name != *-* ]] || continue
        echo "$name" | tee -a scripts
        grep -v '^#' "$path" | filters >stages
        section "$name" | grep '^    ' | filters | diff -u stages -
    done
    sort -o scripts scripts
    sed -n 's/^@test "\([a-z_]*\)" .*/\1/p' "$BATS_TEST_FILENAME" | sort | diff -u scripts -
    sed -n 's/^## \([a-z_]*\)$/\1/p' "$LESSONS" | sort | diff -u scripts -
}

@test "task_arithmetic" { play task_arithmetic; }
@test "ties" { play ties; }
@test "dare_linear" { play dare_linear; }
@test "dare_ties" { play dare_ties; }
@test "breadcrumbs" { play breadcrumbs; }
@test "breadcrumbs_ties" { play breadcrumbs_ties; }
@test "della" { play della; }
@test "della_linear" { play della_linear; }
@test "model_stock" { play model_stock; }
@test "sce" { play sce; }
@test "ram" { play ram; }
@test "ramplus_tl" { play ramplus_tl; }
# bats test_tags=products
@test "swudi" { play swudi; }
# bats test_tags=products
@test "swudi_a" { play swudi_a; }
# bats test_tags=products
@test "tsv_m" { play tsv_m; }
# bats test_tags=products
@test "iso_c" { play iso_c; }
# bats test_tags=products
@test "iso_cts" { play iso_cts; }
# bats test_tags=products
@test "wudi" { play wudi; }
# bats test_tags=products
@test "optmerge" { play optmerge; }
# bats test_tags=products
@test "expert_merging" { play expert_merging; }
# bats test_tags=products
@test "expert_merging_pp" { play expert_merging_pp; }
# bats test_tags=products
@test "swudi_expert_merging" { play swudi_expert_merging; }
# bats test_tags=products
@test "regmean" { play regmean; }
@test "fisher" { play fisher; }
@test "lines" { play lines; }
@test "linear" { play linear; }
@test "slerp" { play slerp; }
@test "nuslerp" { play nuslerp; }
@test "multislerp" { play multislerp; }
@test "karcher" { play karcher; }
@test "nearswap" { play nearswap; }
@test "arcee_fusion" { play arcee_fusion; }
@test "passthrough" { play passthrough; }
