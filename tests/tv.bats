#!/usr/bin/env bats
load common
load lesson
load refusals

@test "tv FILTER is that filter, with or without tv-" {
    make_good
    trim --density 0.5 <good.tvs >found
    tv trim --density 0.5 <good.tvs | cmp found -
    tv view good.tvs >found
    tv-view good.tvs | cmp found -
    tv tv-view good.tvs | cmp found -
    status=0
    tv diff good.tvs not-there 2>.err || status=$?
    [ "$status" -eq 2 ]
    one_sentence tv-diff
}

@test "help goes to standard output, for tv and every filter" {
    tv --help | grep -c '^ *trim '
    for program in "$ROOT/${BUILD:-build}"/bin/*; do
        name=${program##*/}
        "$program" --help >"$name.help" 2>.err
        [ -s "$name.help" ] && [ ! -s .err ]
        grep -q "^Usage: $name" "$name.help"
        [ "$name" = tv ] || tv "$name" --help | cmp "$name.help" -
        "$program" --version | grep -c tvtools
        [ "$name" = tv ] || tv --help | grep -c "^    $name "
        "$program" -h | cmp "$name.help" -
    done
}

@test "every name has help, and a wrong one a suggestion" {
    tv help merge | grep -c '^Usage: tv merge'
    tv help trim | cmp - <(trim --help)
    tv help ties | cmp - <(tv pipeline ties --help)
    tv pipeline | grep -cx '  ties  *trim each task vector, .*'
    for script in "$ROOT"/pipelines/*; do
        case $script in *.sh | *.md | */pictures) continue ;; esac
        tv pipeline | grep -c "^  ${script##*/}  *[^ ]" || wrong "tv pipeline lacks ${script##*/}"
    done
    usage_error_with "tv: ties is a pipeline; tv pipeline ties runs it (tv help ties shows" tv ties a b c
    usage_error_with "did you mean trim?" tv tirm
    usage_error_with "did you mean dare_ties?" tv help dare-ties
    usage_error_with "no script tise (did you mean ties?)" tv pipeline tise
    usage_error_with "trim: unrecognized option --densty (did you mean --density?)" trim --densty=0.2
    usage_error_with "trim: unrecognized option --xyzzy (trim --help lists" trim --xyzzy
    usage_error_with '"20%": expected a number; write 0.2 for 20%' trim --density 20%
    usage_error_with 'write 0.125' wudi --lr 12.5%
    usage_error_with "unexpected operand 20% (did you mean --density 0.2?)" trim 20%
    usage_error_with "unexpected operand 0.2 (did you mean --density 0.2?)" trim 0.2
    : >deltas.tvs
    usage_error_with "unexpected operand deltas.tvs (trim reads standard input: trim < deltas.tvs)" trim deltas.tvs
    usage_error_with "unexpected operand x" elect-sign x
}

@test "lists on a terminal break between words" {
    command -v script >/dev/null || skip "script is not installed"
    tv pipeline | sed 1,5d >list
    script -qec "stty cols 60 && tv pipeline" /dev/null </dev/null | tr -d '\r' | sed 1,5d >found
    [ "$(awk 'length > 60' found)" = "" ]
    [ "$(wc -l <found)" -gt "$(wc -l <list)" ]
    diff <(tr -s ' \n' ' ' <list) <(tr -s ' \n' ' ' <found)
}

@test "- is standard input or output, wherever a file can be" {
    make_good
    lesson >lesson.txt
    echo "from-text lesson.txt | trim --density 0.5 |
        combine" | tv run - | cmp - <(trim --density 0.5 <good.tvs | combine)
    echo 0.5 | tv run "from-text lesson.txt | trim --density @-" | cmp - <(trim --density 0.5 <good.tvs)
    echo 0.5 | tv run "from-text lesson.txt | weigh @-" | cmp - <(weigh 0.5 <good.tvs)
    tv run --report=- "from-text lesson.txt | stats" | tail -n 1 | grep -qx '}'
    usage_error_with "/dev/stdout is the standard output, which carries the stream" \
        tv run --report=- "from-text lesson.txt | combine"
    usage_error_with "a command is missing" tv run - </dev/null
    [ ! -e - ]
}

@test "tv models lists the Hub's cache" {
    mkdir -p hub/models--acme--big hub/models--bert hub/datasets--acme--text
    HF_HUB_CACHE=hub tv models >found
    printf '%s\n' acme/big bert | diff - found
    HF_HUB_CACHE=none tv models 2>stderr | cmp - /dev/null
    grep -cx 'tv models: note: the local Hugging Face cache has no models (see tv models --help)' stderr
}

@test "help that cannot be written is an error" {
    while read -r name command; do
        status=0
        # shellcheck disable=SC2086
        $command --help >/dev/full 2>.err || status=$?
        [ "$status" -eq 1 ] || wrong "$command: exits with $status"
        grep -qx "$name: cannot write to standard output: .*" .err || wrong "$command: another message"
    done <<END
tv tv
tv tv run
tv tv merge
tv tv finish
tv tv verify
tv tv tune
trim tv trim
tv-diff tv-diff
END
}

@test "closed standard descriptors fail when they are used, and only then" {
    make_good
    # closed NAME COMMAND: fails with one sentence
    closed() {
        local status=0
        bash -c "$2" 2>.err || status=$?
        [ "$status" -eq 1 ] || wrong "$2: exits with $status"
        one_sentence "$1"
    }
    closed trim 'trim --density 0.5 <good.tvs >&-'
    closed trim 'trim --density 0.5 <&- >/dev/null'
    closed tv-view 'tv-view good.tvs >&-'
    closed trim "tv run 'trim --density 0.5 | cat | combine' <&- >/dev/null"
    closed pick "tv run 'trim --density 0.5 | cat | pick math' <good.tvs >&-"
    trim --density 0.5 <good.tvs >expected 2>&-
    tv run 'trim --density 0.5 | cat | tee found' <good.tvs >/dev/null 2>&-
    cmp expected found
}

@test "tv env puts the filters on PATH" {
    tv=$(command -v tv)
    PATH=/usr/bin:/bin
    eval "$("$tv" env)"
    command -v trim combine pack
}

@test "unknown filters and wrong options" {
    usage_error tv no-such-filter
    status=0
    tv run --threads 2>.err || status=$?
    [ "$status" -eq 2 ]
    status=0
    tv 2>.err || status=$?
    [ "$status" -eq 2 ]
    grep -q ^Usage .err
    status=0
    tv run 2>.err || status=$?
    [ "$status" -eq 2 ]
    usage_error tv run --threads=0 'trim'
    usage_error_with "tv: run: missing operand PIPELINE (tv run --help" tv run
    usage_error_with "tv: run: expected PIPELINE as one argument" tv run unpack a
    usage_error_with "tv: finish: missing operand OUT (tv finish --help" tv finish
    usage_error_with "tv: finish: expected one operand OUT" tv finish a b
    usage_error tv run --no-such
    usage_error tv run --threads=x 'trim'
}
