# shellcheck shell=bash
# Errors of filters: each is one sentence that begins with the filter's name, with an exit status
# other than 0, and leaves nothing that could be taken for a result.

# not COMMAND...: the command fails (bats ignores the status of `! COMMAND`)
not() {
    ! "$@"
}

# wrong SENTENCE: fails the test and shows the command's standard error
wrong() {
    echo "$1"
    sed 's/^/    stderr: /' .err
    return 1
}

# exits STATUS COMMAND...: without input; its output is in .out and .err
exits() {
    local status=0
    "${@:2}" >.out 2>.err </dev/null || status=$?
    [ "$status" = "$1" ] || wrong "${*:2}: exits with $status instead of $1"
}

# one_sentence NAME: standard error is one line that begins with NAME
one_sentence() {
    local lines
    mapfile -t lines <.err
    [ ${#lines[@]} -eq 1 ] && [[ ${lines[0]} == "$1: "* ]] && [ ${#lines[0]} -gt $((${#1} + 5)) ]
}

# refused COMMAND...: it fails with one sentence and leaves neither a file nor a complete stream
refused() {
    local name=${REFUSED_BY:-${1##*/}} status=0 before after
    before=(*)
    "$@" 2>.err >.out || status=$?
    after=(*)
    [ "$status" -ne 0 ] || wrong "$*: exits with 0" || return 1
    [ "$status" -lt 126 ] || wrong "$*: exits with $status" || return 1
    one_sentence "$name" || wrong "$*: not one sentence of $name" || return 1
    [ "${before[*]}" = "${after[*]}" ] || wrong "$*: leaves ${after[*]}" || return 1
    [ ! -s .out ] || ! tail -c 10 .out | grep -qaP '^\xc4\x08' || wrong "$*: writes an end" || return 1
}

# refused_with TEXT COMMAND...: the same, and the sentence contains TEXT
refused_with() {
    refused "${@:2}" || return 1
    grep -qF -- "$1" .err || wrong "the sentence lacks: $1"
}

# relays_errors COMMAND...: after an error record the command fails without a sentence of its own
relays_errors() {
    local status=0
    printf '\xa4TVS1\x2b\x83\xa6record\xa5error\xa5stage\xa4mine\xa8sentence\xa8it broke' >.error.tvs
    # shellcheck disable=SC2002
    cat .error.tvs | "$@" >.out 2>.err || status=$?
    [ "$status" -ne 0 ] || wrong "$*: exits with 0 after an error record" || return 1
    [ ! -s .err ] || wrong "$*: repeats what the failed stage has said" || return 1
    REFUSED_BY=mine refused_with "mine: it broke" "$@" <.error.tvs
}

# refuses_bad_streams COMMAND...: a filter that reads a stream like $GOOD (default: good.tvs). All
# filters have the same reader, so `check` tries every bad stream, and the others try those that their
# command selects.
refuses_bad_streams() {
    local good=${GOOD:-good.tvs} file seed=()
    [ "$1" = check ] || seed=("$(cksum <<<"$*" | cut -d ' ' -f 1)")
    rm -rf .bad
    /usr/bin/python3 "$TESTS/bad_streams.py" "$good" .bad "${seed[@]}" || return 1
    for file in .bad/*; do
        refused "$@" <"$file" || wrong "of ${file#.bad/}" || return 1
    done
    refused_with "is empty" "$@" </dev/null || return 1
    refused "$@" < <(head -c 200 "$good" && kill -KILL $BASHPID) || return 1
    relays_errors "$@"
}

# refuses_bad_output COMMAND...: a filter that writes a stream or text; it reads $GOOD
refuses_bad_output() {
    local good=${GOOD:-good.tvs}
    with_full_disk "$@" <"$good" || return 1
    with_closed_output "$@" <"$good" || return 1
    without_reader "$@" <"$good"
}

with_full_disk() {
    local name=${REFUSED_BY:-${1##*/}} status=0
    "$@" >/dev/full 2>.err || status=$?
    [ "$status" -ne 0 ] || wrong "$*: exits with 0 although the disk is full" || return 1
    one_sentence "$name" || wrong "$*: not one sentence about the full disk" || return 1
    grep -qF "No space left" .err || wrong "$*: does not say that the disk is full"
}

with_closed_output() {
    local name=${REFUSED_BY:-${1##*/}} status=0
    { "$@" 2>.err; } >&- || status=$?
    [ "$status" -ne 0 ] || wrong "$*: exits with 0 without an output" || return 1
    one_sentence "$name" || wrong "$*: not one sentence about the closed output"
}

# without_reader COMMAND...: if its reader exits, the command is ended by SIGPIPE, silently
without_reader() {
    local status=0 out
    rm -f .pipe
    mkfifo .pipe
    true <.pipe &
    exec {out}>.pipe
    wait $!
    # shellcheck disable=SC2261
    "$@" >&"$out" 2>.err || status=$?
    exec {out}>&-
    [ "$status" -eq 141 ] || wrong "$*: exits with $status instead of SIGPIPE's 141" || return 1
    [ ! -s .err ] || wrong "$*: says something though its reader has gone"
}

# refuses_nonfinite COMMAND...: NaN in a stream of task vectors, by tensor and index
refuses_nonfinite() {
    lesson | sed 's/^0 0.25 3$/0 nan 3/' | from-text --allow-nonfinite >.nan.tvs
    refused_with "tensor w of math has a non-finite number at flat index 4" "$@" <.nan.tvs ||
        return 1
    lesson | sed 's/^-1 4 0.5$/-1 4 -inf/' | from-text --allow-nonfinite >.nan.tvs
    refused_with "tensor w of code has a non-finite number at flat index 2" "$@" <.nan.tvs
}

# usage_error COMMAND...: exits with 2 and a message, whatever its input
usage_error() {
    local status=0
    "$@" </dev/null >.out 2>.err || status=$?
    [ "$status" -eq 2 ] || wrong "$*: exits with $status instead of 2" || return 1
    [ ! -s .out ] || LC_ALL=C grep -qa "record.error" .out || wrong "$*: writes output" || return 1
    grep -q "^${REFUSED_BY:-${1##*/}}: " .err || wrong "$*: does not say who it is"
}

# usage_error_with TEXT COMMAND...: the same, with one sentence, of less than 400 bytes, that contains TEXT
usage_error_with() {
    usage_error "${@:2}" || return 1
    [ "$(wc -l <.err)" = 1 ] && [ "$(wc -c <.err)" -lt 400 ] || wrong "not one short sentence" || return 1
    grep -qF -- "$1" .err || wrong "the sentence lacks: $1"
}
