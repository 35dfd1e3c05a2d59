#!/usr/bin/env bats
# share/engines: the same merge by make, GNU parallel, and the tasks of a Slurm array.
load common
load refusals

ENGINES=$ROOT/share/engines

setup() {
    own_folder
    ln -s "$A"/{base,math,code} .
    printf '%s\n' 'merge_method: dare_ties' 'base_model: base' 'models:' \
        '  - model: math' '    parameters: {weight: 0.5, density: 0.4}' \
        '  - model: code' '    parameters: {weight: 0.6, density: 0.4}' 'dtype: bfloat16' >config.yml
    tv merge --shards 4 config.yml single
}

@test "make -j" {
    make -j 3 -f "$ENGINES/parts.mk" CONFIG=config.yml OUT=merged N=4
    diff -r single merged
    make -f "$ENGINES/parts.mk" CONFIG=config.yml OUT=merged N=4 | grep -c "already exists"
}

@test "make resumes after a failure" {
    tv merge --part 1/4 config.yml merged
    mkdir -p .merged.parts/model-00003-of-00004.safetensors.json/in-the-way
    status=0
    make -k -j 2 -f "$ENGINES/parts.mk" CONFIG=config.yml OUT=merged N=4 2>.err || status=$?
    [ "$status" -ne 0 ] && [ ! -e merged ]
    rm -r .merged.parts/model-00003-of-00004.safetensors.json
    make -j 2 -f "$ENGINES/parts.mk" CONFIG=config.yml OUT=merged N=4 2>notes
    [ "$(grep -c "1 of 1 shards are already finished" notes)" = 3 ]
    diff -r single merged
}

@test "the line for GNU parallel" {
    sed -n 's/^    \(parallel --halt.*\)/\1/p' "$ENGINES/README.md" | sed 's/8/4/g' >line
    bash -euo pipefail line
    diff -r single merged
}

@test "tasks of a Slurm array" {
    export SLURM_ARRAY_TASK_ID SLURM_ARRAY_TASK_COUNT=4
    for SLURM_ARRAY_TASK_ID in 2 4 1 3; do
        "$ENGINES/parts.slurm" config.yml merged
    done
    tv finish merged
    diff -r single merged
    unset SLURM_ARRAY_TASK_ID
    not "$ENGINES/parts.slurm" config.yml other 2>.err
    grep -q "sbatch --array" .err
}
