# shellcheck shell=bash
# For every .bats: the built programs on PATH, the golden data, a folder of its own.

bats_require_minimum_version 1.5.0
# A pipe fails with any of its members. Hence grep -c at its end: -q would leave early, and what
# still writes to it would fail.
set -o pipefail
TESTS=${BASH_SOURCE[0]%/*} # bats loads it by its whole path
ROOT=${TESTS%/*}
GOLDEN=${GOLDEN:-$TESTS/golden}
[[ $GOLDEN = /* ]] || GOLDEN=$PWD/$GOLDEN
[ -d "$GOLDEN" ] || { echo "GOLDEN: no folder $GOLDEN" >&2 && exit 1; }
DEMO=$ROOT/share/demo
PATH=$ROOT/${BUILD:-build}/bin:$PATH
export TESTS ROOT GOLDEN DEMO PATH
# shellcheck disable=SC2034
MERGE=$GOLDEN/merge A=$GOLDEN/merge/models B=$GOLDEN/merge/models-bf16

# $T, each test's own folder. A file that has more to set up begins with this.
own_folder() {
    follow_failures_only
    T=$BATS_TEST_TMPDIR
    cd "$T" || exit 1
}

# bats records a stack trace before each command, which takes a quarter of the time of all tests. One
# when a command has failed is enough to show which it was.
follow_failures_only() {
    trap - DEBUG
    # shellcheck disable=SC2034
    BATS_DEBUG_LASTLAST_STACK_TRACE=()
    trap record_failure ERR
}

# shellcheck disable=SC2317
record_failure() {
    bats_capture_stack_trace
    bats_error_trap
}

setup() { own_folder; }

# fail SENTENCE
fail() {
    echo "$1"
    return 1
}

# equals OUT EXPECTED RTOL BAD_FRAC: OUT is EXPECTED within the tolerances of checks.tsv
equals() {
    tv-diff --tolerance "$3" --bad-frac "$4" "$1" "$2"
}

# on_terminal COMMAND...: writes what it prints on a terminal of $columns columns (default 80) to the file
# `terminal`
on_terminal() {
    script -qec "stty cols ${columns:-80}; $(printf '%q ' "$@")" /dev/null | tr -d '\r' >terminal
}

# has CASE EXPECTED: is that case among the golden data at hand?
has() {
    [ -e "$MERGE/$1/$2" ] || skip "only in the full golden data"
}

# golden FOLDER EXPECTED [CONFIG DTYPE]: checks merged/ against it, as checks.tsv says
golden() {
    local rtol bad
    read -r rtol bad < <(awk -F'\t' -v f="$1" -v x="$2" -v c="${3:-config.yml}" -v d="${4:--}" \
        '$1 == f && $5 == x && $2 == c && $3 == d {print $6, $7}' "$MERGE/checks.tsv")
    equals merged "$MERGE/$1/$2" "$rtol" "$bad"
}
