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
    awk -v name="$1" '/^###? / { on = $0 == "## " name || $0 == "### " name } on' "$LESSONS"
}

# play NAME: runs the examples of a section: "$ COMMAND" and the lines that it prints; the pictures of the section
# are those that it has drawn
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
    for picture in $(section "$1" | sed -n 's/^!\[.*](pictures\/\(.*\))$/\1/p'); do
        cmp "$picture" "$ROOT/pipelines/pictures/$picture"
    done
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
        [ -f "$path" ] && [ -x "$path" ] && [[ $name != *-* ]] || continue
        echo "$name" | tee -a scripts
        grep -v '^#' "$path" | filters >stages
        section "$name" | grep '^    ' | filters | diff -u stages -
    done
    sort -o scripts scripts
    sed -n 's/^@test "\([a-z_]*\)" .*/\1/p' "$BATS_TEST_FILENAME" | sort | diff -u scripts -
    sed -n 's/^### \([a-z_]*\)$/\1/p' "$LESSONS" | sort | diff -u scripts -
}

@test "the plan lists every lesson with its methods" {
    sed -n 's/^| \[\([0-9]\) \([^]]*\)](#lesson[^|]*|[^|]*|\([^|]*\)|.*/\1: \2 \3/p' "$LESSONS" |
        sed 's/(#[^)]*)//g; s/[][,]//g; s/ by hand//; s/  */ /g; s/ $//' >plan
    awk '/^## / && line { print line; line = "" } /^## Lesson / { line = substr($0, 11) }
        /^### [a-z_]*$/ { line = line " " $2 } END { if (line) print line }' "$LESSONS" | diff -u plan -
    [ "$(wc -l <plan)" = 8 ]
}

# That of Expert Merging is in the section that computes it by hand.
@test "every method is drawn, and every picture is shown" {
    basename -as .svg "$ROOT"/pipelines/pictures/* | sort >drawn
    sed -n 's/^!\[.*](pictures\/\(.*\)\.svg)$/\1/p' "$LESSONS" | sort | diff -u drawn -
    { sed -n 's/^### \([a-z_]*\)$/\1/p' "$LESSONS" | grep -v '^expert_merging_pp$\|^swudi_expert_merging$' && echo task_vectors; } |
        sort | diff -u drawn -
}

# The anchor of a heading on GitHub: lower case, no punctuation, hyphens for spaces.
@test "links on the page lead to headings" {
    sed -n 's/^##* //p' "$LESSONS" | tr '[:upper:]' '[:lower:]' | tr -cd 'a-z0-9_ \n-' | tr ' ' - | sort >headings
    grep -o '](#[^)]*)' "$LESSONS" | tr -d '](#)' | sort -u >links
    [ "$(wc -l <links)" -gt 30 ]
    comm -13 headings links | diff -u /dev/null -
}

# A lesson is a heading of the second level.
@test "every lesson has exercises, and every exercise a solution that runs" {
    awk '/^## / { lesson = /^## Lesson/ ? $3 + 0 : "" }
        /^\*\*[0-9]\.[0-9]\*\*/ { if (wanted) print wanted " has no solution"; wanted = substr($1, 3, 3); count[lesson]++ }
        /^\*\*[0-9]/ && substr($1, 3, 1) != lesson { print $1 " in lesson " lesson }
        /^<details><summary>Solution/ { inside = 1; runs = 0 }
        inside && /^\$ / { runs = 1 }
        /^<\/details>/ { if (inside && !runs) print wanted " runs nothing"; inside = 0; wanted = "" }
        END { for (l = 1; l <= 8; l++) if (count[l] < 2) print "lesson " l ": exercises missing"
              if (wanted) print wanted " has no solution" }' "$LESSONS" | diff -u /dev/null -
    sed -n 's/^### Exercises of lesson \(.\)$/exercises of lesson \1/p' "$LESSONS" >exercises
    sed -n 's/^@test "\(exercises of lesson .\)".*/\1/p' "$BATS_TEST_FILENAME" | diff -u exercises -
}

@test "task_arithmetic" { play task_arithmetic; }
@test "lines" { play lines; }
@test "exercises of lesson 1" { play "Exercises of lesson 1"; }
@test "ties" { play ties; }
@test "breadcrumbs" { play breadcrumbs; }
@test "breadcrumbs_ties" { play breadcrumbs_ties; }
@test "exercises of lesson 2" { play "Exercises of lesson 2"; }
@test "dare_linear" { play dare_linear; }
@test "dare_ties" { play dare_ties; }
@test "della" { play della; }
@test "della_linear" { play della_linear; }
@test "exercises of lesson 3" { play "Exercises of lesson 3"; }
@test "model_stock" { play model_stock; }
@test "sce" { play sce; }
@test "ram" { play ram; }
@test "ramplus_tl" { play ramplus_tl; }
@test "exercises of lesson 4" { play "Exercises of lesson 4"; }
# bats test_tags=products
@test "regmean" { play regmean; }
@test "fisher" { play fisher; }
# bats test_tags=products
@test "exercises of lesson 5" { play "Exercises of lesson 5"; }
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
@test "exercises of lesson 6" { play "Exercises of lesson 6"; }
# bats test_tags=products
@test "expert_merging" { play expert_merging; }
# bats test_tags=products
@test "Expert Merging by hand" { play "Expert Merging by hand"; }
# bats test_tags=products
@test "expert_merging_pp" { play expert_merging_pp; }
# bats test_tags=products
@test "swudi_expert_merging" { play swudi_expert_merging; }
# bats test_tags=products
@test "exercises of lesson 7" {
    play "Expert Merging by hand"
    play "Exercises of lesson 7"
}
@test "linear" { play linear; }
@test "slerp" { play slerp; }
@test "nuslerp" { play nuslerp; }
@test "multislerp" { play multislerp; }
@test "karcher" { play karcher; }
@test "nearswap" { play nearswap; }
@test "arcee_fusion" { play arcee_fusion; }
@test "passthrough" { play passthrough; }
@test "exercises of lesson 8" { play "Exercises of lesson 8"; }
