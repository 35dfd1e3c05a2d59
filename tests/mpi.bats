#!/usr/bin/env bats
# calibrate in several processes, started by mpirun.
load common
load refusals

# The stream of the demo's experts, and what one process learns from it.
setup_file() {
    cd "$BATS_FILE_TMPDIR" || exit 1
    tv-extract "$DEMO/base" rev="$DEMO/expert-rev" sort="$DEMO/expert-sort" shift="$DEMO/expert-shift" >demo.tvs
}

setup() {
    own_folder
    STREAM=$BATS_FILE_TMPDIR/demo.tvs
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
    export OMPI_MCA_plm=isolated OMPI_MCA_btl=self,vader
    export REFUSED_BY=calibrate ASAN_OPTIONS=detect_leaks=0 # MPI's own
    head -qn 5 "$DEMO"/calib/*.jsonl >samples.jsonl
}

EXPERTS=(--expert rev="$DEMO/expert-rev" --expert sort="$DEMO/expert-sort" --expert shift="$DEMO/expert-shift")

# own_lines COMMAND...: of its standard error, what calibrate says and an abort that mpirun reports.
# (hwloc, which OpenMPI uses, writes other lines where it finds no /sys.)
own_lines() {
    { "$@" 2>&1 >&4 4>&- | sed -n '/^calibrate: /p; /MPI_ABORT/p' >&2 4>&-; } 4>&1
}

# learn PROCESSES OPTION...: from standard input
learn() {
    local start=()
    [ "$1" = 1 ] || start=(mpirun --quiet -n "$1")
    own_lines "${start[@]}" calibrate --base "$DEMO/base" --samples samples.jsonl --threads 1 "${@:2}"
}

# as_alone PROCESSES OPTION...: several find what one finds
as_alone() {
    rm -f one.log several.log
    learn 1 "${EXPERTS[@]}" "${@:2}" --coefficients one.tsv --log one.log <"$STREAM" >one.tvs
    learn "$1" "${EXPERTS[@]}" "${@:2}" --coefficients several.tsv --log several.log <"$STREAM" >several.tvs
    check several.tvs
    weigh --table several.tsv <"$STREAM" | tv-diff --quiet - several.tvs
    "$TESTS/calibrate.py" same one several
}

@test "two processes learn what one learns" {
    as_alone 2
}

@test "three processes with samples held out; four, of which one is idle" {
    as_alone 3 --validate 3 --epochs 2
    as_alone 4 --per-task 1 --epochs 2
}

@test "Expert Merging++, a search for the initial value, losses and gradients" {
    as_alone 2 --plus-plus --epochs 2
    as_alone 2 --init auto --dry-run
    learn 1 "${EXPERTS[@]}" --dry-run --gradients one <"$STREAM" >one.tvs
    learn 2 "${EXPERTS[@]}" --dry-run --gradients several <"$STREAM" | cmp - one.tvs
    "$TESTS/calibrate.py" same-gradients one several
}

@test "between the stages of a pipeline" {
    tv-extract "$DEMO/base" rev="$DEMO/expert-rev" sort="$DEMO/expert-sort" shift="$DEMO/expert-shift" |
        learn 2 "${EXPERTS[@]}" --epochs 1 | combine | pack --base "$DEMO/base" merged
    learn 2 "${EXPERTS[@]}" --epochs 1 <"$STREAM" | combine | pack --base "$DEMO/base" again
    cmp merged/model.safetensors again/model.safetensors
}

@test "a run continues from a state that all processes can read" {
    learn 2 "${EXPERTS[@]}" --epochs 2 --coefficients whole <"$STREAM" >out.tvs
    learn 2 "${EXPERTS[@]}" --epochs 2 --resume state <"$STREAM" >out.tvs
    learn 2 "${EXPERTS[@]}" --epochs 2 --resume state --coefficients found --log log <"$STREAM" >out.tvs
    cmp whole found
    [ ! -s log ]
    refused_with "different inputs or options" learn 2 "${EXPERTS[@]}" --epochs 3 --resume state <"$STREAM"
}

# Process i reads the samples of i.jsonl.
differing() {
    # shellcheck disable=SC2016
    own_lines mpirun --quiet -n 2 bash -c 'exec calibrate "$@" --samples $OMPI_COMM_WORLD_RANK.jsonl' - \
        --base "$DEMO/base" "${EXPERTS[@]}" --threads 1
}

@test "an error in one process ends all, with one message" {
    cp samples.jsonl 0.jsonl
    { cat samples.jsonl && echo '{"task": "rev", "input_ids": [999]}'; } >1.jsonl
    refused_with "1.jsonl, line 16: token id 999" differing <"$STREAM"
    rm 1.jsonl
    refused_with "cannot open 1.jsonl" differing <"$STREAM"
    tac samples.jsonl >1.jsonl
    refused_with "process 2 of 2 has different models, samples or options" differing <"$STREAM"
    cp samples.jsonl 1.jsonl
    differing <"$STREAM" | check
}

@test "an error of the first process, or of all, is reported once" {
    refused_with "give an --expert for each model" learn 2 <"$STREAM"
    trim --density 0.5 <"$STREAM" >trimmed.tvs
    refused_with "directly from tv-extract" learn 2 "${EXPERTS[@]}" <trimmed.tvs
    refused_with "No space left" learn 2 "${EXPERTS[@]}" --epochs 1 --coefficients /dev/full <"$STREAM"
    refused_with "--init" learn 2 "${EXPERTS[@]}" --range 0.4 <"$STREAM"
    learn 2 --no-such-option <"$STREAM" >out 2>.err && wrong "an unknown option was taken"
    [ "$(grep -c "unrecognized option" .err)" = 1 ]
}

# OpenMPI 4.1's mpirun may fall over, and lose the sentence, when its input ends as its processes do.
@test "a truncated or empty stream is an error" {
    head -c 1000000 "$STREAM" >cut.tvs
    for input in cut.tvs /dev/null; do
        learn 2 "${EXPERTS[@]}" --epochs 1 <"$input" >out 2>.err && wrong "of $input"
        not check out
    done
}

@test "variables of an earlier mpirun are not mistaken for processes" {
    stale() { OMPI_COMM_WORLD_SIZE=$1 OMPI_COMM_WORLD_RANK=$2 learn 1 "${EXPERTS[@]}" --epochs 1 <"$STREAM"; }
    refused_with "OMPI_COMM_WORLD_RANK say 2 processes" stale 2 0
    learn 1 "${EXPERTS[@]}" --epochs 1 <"$STREAM" >one.tvs
    stale 0 0 | cmp - one.tvs
}

@test "tv run starts no processes" {
    line="tv-extract $DEMO/base rev=$DEMO/expert-rev | calibrate --base $DEMO/base --samples $DEMO/calib/rev.jsonl"
    mpirun --quiet -n 2 tv run "$line" >out 2>.err && wrong "it was not refused"
    grep -q "mpirun must start calibrate itself" .err
}
