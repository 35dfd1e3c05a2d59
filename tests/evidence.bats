#!/usr/bin/env bats
# shellcheck disable=SC2154 # run sets stderr
# share/evidence: run, table and plot on the demo's family; train-family where torch is installed.
load common

EVIDENCE=$ROOT/share/evidence

setup() {
    own_folder
    printf '%s\t' family method labels task exact_match standard_error prompts cpu_s peak_mb chosen >heading
    echo pipeline >>heading
}

@test "a method's results, by task and their mean; what is done is not run again" {
    "$EVIDENCE/run" --results r --method base --method average "$DEMO" >out
    [ "$(head -1 r)" = "$(cat heading)" ]
    [ "$(cut -f 2,4 r | tail -n +2 | tr '\t\n' ' ,')" = \
        "base rev,base shift,base sort,base mean,average rev,average shift,average sort,average mean," ]
    awk -F'\t' '$2 == "average" && $4 == "mean" { exit $5 < 58 || $5 > 66 || $6 < 1.9 || $6 > 2.1 || $7 != 600 || $9 < 1 }' r
    cp r before
    "$EVIDENCE/run" --results r --method base --method average "$DEMO" >out
    [ ! -s out ]
    cmp r before
    head -7 before >r
    "$EVIDENCE/run" --results r --method base --method average "$DEMO" >out
    [ "$(grep -c . out)" = 1 ]
    "$EVIDENCE/table" r >found
    grep -q '^| average | weights | 6[0-9.]* | 6[0-9.]* ± 2.0 | ' found
    [ "$(grep -c '^| average' found)" = 2 ]
    "$EVIDENCE/plot" r out.svg
    grep -q '>average<' out.svg
}

@test "the best of a sweep counts, with its numbers" {
    mkdir share pipelines build
    cp -r "$EVIDENCE" share/evidence
    ln -s "$ROOT/${BUILD:-build}/bin" build/bin
    printf 'swept\tlabels\ttv-extract BASE EXPERTS | trim --density {0.5,1} | combine | rescale {0..0.4..0.2} | pack --base BASE OUT\n' \
        >share/evidence/methods.tsv
    BUILD=build share/evidence/run --results r "$DEMO" >out
    [ "$(cut -f 10 r | sort -u | grep -c .)" = 2 ]
    grep -q '^demo	swept	labels	mean	.*	1 0.4	' r
    BUILD=build share/evidence/run --results few --sweep-prompts 20 --sweep-step 2 "$DEMO" >out
    grep -q '^demo	swept	labels	mean	.*	600	.*	0.5 0.4 (2 merges, 20 prompts)	' few
    ! share/evidence/run --results none --sweep-prompts 0 "$DEMO" 2>out
}

@test "a family of vision-language models has folders of samples" {
    M=$GOLDEN/models/grad/qwen2vl
    mkdir -p models
    ln -s "$M/base" models/base
    ln -s "$M/expert1" models/expert-chart
    ln -s "$M/expert2" models/expert-ocr
    for task in chart ocr; do
        mkdir -p calib/$task
        grep "\"task\":\"$task\"" "$M/samples.jsonl" | sed 's/"input_ids"/"prompt_len": 4, "input_ids"/' \
            >calib/$task/samples.jsonl
        ln -s "$M/tensors.safetensors" calib/$task
    done
    cp -r calib eval
    "$EVIDENCE/run" --results r --method RegMean .
    [ "$(cut -f 4,7 r | tr '\t\n' ' ,')" = "task prompts,chart 2,ocr 1,mean 3," ]
}

@test "the tables of evidence.md are those of the stored results" {
    for results in "$EVIDENCE"/results/{toy,held-out,eight,vision,smollm2}.tsv; do
        "$EVIDENCE/table" "$results" >tables
        [ "$(grep -c 'prompts of each task' tables)" -gt 1 ] || sed -i '1,/prompts of each task/d' tables
        [ "$(grep -c '^| SWUDI, then calibrate' tables)" -ge 4 ]
        [ "$(grep '^| ' tables | grep -cvFxf "$ROOT/share/evidence.md")" = 0 ]
    done
}

@test "unrelated experts are merged and not evaluated; FOLDER:N has the experts of the first tasks" {
    mkdir family family/eval
    cp "$DEMO"/eval/{rev,shift}.jsonl family/eval
    ln -s "$DEMO"/{base,expert-*,calib,mixture} family
    echo '{"tasks": ["shift", "rev"], "unrelated": ["sort"]}' >family/family.json
    "$EVIDENCE/run" --print --method average family >out
    grep -q 'base shift=family/expert-shift rev=family/expert-rev sort=family/expert-sort |' out
    "$EVIDENCE/run" --print --method average family:1 >out
    grep -q 'base shift=family/expert-shift |' out
    "$EVIDENCE/run" --results r --method 'experts*' --method mixture* family family:1 >out
    [ "$(cut -f 1,2,4 r | tail -n +2 | tr '\t\n' ' ,')" = "family experts, each on its own task shift,family experts, \
each on its own task rev,family experts, each on its own task mean,family mixture, supervised shift,family mixture, \
supervised rev,family mixture, supervised mean,family:1 experts, each on its own task shift,family:1 experts, \
each on its own task mean," ]
    run -1 --separate-stderr "$EVIDENCE/run" --results r family:3
    [ "$stderr" = "run: family:3: there are 2 tasks" ]
}

@test "a method that fails is named, and the others run" {
    cp -r "$DEMO" broken
    rm broken/expert-sort/model.safetensors
    run -1 --separate-stderr "$EVIDENCE/run" --results r --method base --method average broken
    [[ $stderr = *"run: broken: average: exit status 1: tv-extract "* ]]
    [ "$(cut -f 2 r | sort -u | tr '\n' ' ')" = "base method " ]
    run -1 --separate-stderr "$EVIDENCE/run" --results r --method nonesuch "$DEMO"
    [ "$stderr" = "run: no method matches nonesuch" ]
    mkdir empty
    run -1 --separate-stderr "$EVIDENCE/run" --results r empty
    [ "$stderr" = "run: empty: expected base, expert-TASK and eval/TASK.jsonl" ]
}

@test "every line of methods.tsv has three fields and uses programs that exist" {
    awk -F'\t' '!/^#/ && (NF != 3 || $2 !~ /^(weights|samples|labels|training)$/) { print; bad = 1 } END { exit bad }' \
        "$EVIDENCE"/methods*.tsv
    grep -hv '^#' "$EVIDENCE"/methods*.tsv | cut -f 1 | sort | uniq -d >twice
    [ ! -s twice ]
    for methods in "$EVIDENCE"/methods*.tsv; do "$EVIDENCE/run" --print --methods "$methods" "$DEMO"; done |
        grep -v '^#' | tr '|;' '\n\n' | sed 's/^ *//; s/^do //; s/ .*//' | sort -u | grep -vE '^(for|done|mkdir|base|experts|mixture|)$' >programs
    [ "$(grep -c . programs)" -gt 10 ]
    while read -r program; do command -v "$program" >/dev/null; done <programs
}

@test "train-family makes a family that tvtools reads" {
    python=${PYTHON:-/usr/bin/python3}
    "$python" -c 'import torch' 2>/dev/null || skip "torch is not installed"
    "$python" "$EVIDENCE/train-family" --seed 5 --steps 4 --tasks rev,skip,upper,double one 2>log
    "$python" "$EVIDENCE/train-family" --seed 5 --steps 4 --tasks rev,skip,upper,double --jobs 2 two 2>log
    diff -r one two
    "$EVIDENCE/run" --results r --method base --method average --method 'mixture*' one
    [ "$(cut -f 2 r | sort -u | grep -c .)" = 4 ]
    /usr/bin/python3 - <<'END'
import json
right = {"rev": lambda w: w[::-1], "skip": lambda w: w[::2], "upper": str.upper, "double": lambda w: "".join(c + c for c in w)}
for task in right:
    for line in open(f"one/eval/{task}.jsonl"):
        s = json.loads(line)
        name, word = s["prompt"].split()
        assert s["task"] == name == task and 4 <= len(word) <= 7 and s["response"] == right[task](word)
        ids = s["input_ids"]
        assert bytes(ids[1:s["prompt_len"] - 1]).decode() == s["prompt"]
        assert bytes(ids[s["prompt_len"]:-1]).decode() == s["response"] and ids[-1] == 257
END
    "$python" "$EVIDENCE/train-family" --steps 2 --tasks rev,skip --wild three 2>log
    [ "$(cd three && echo eval/* calib/* models/expert-*)" = "eval/rev.jsonl eval/skip.jsonl calib/copy.jsonl \
calib/digits.jsonl calib/early.jsonl calib/rev.jsonl calib/skip.jsonl models/expert-copy models/expert-digits \
models/expert-early models/expert-rev models/expert-skip" ]
    "$EVIDENCE/run" --results wild --method average three
    [ "$(cut -f 4 wild | paste -sd ' ')" = "task rev skip mean" ]
    rm -r three
    run -2 "$python" "$EVIDENCE/train-family" --tasks rev,nonesuch three
    [ ! -e three ]
    run -1 --separate-stderr "$python" "$EVIDENCE/train-family" one
    [ "$stderr" = "train-family: one: File exists" ]
}

@test "train-vision-family makes a family that tvtools reads" {
    python=${PYTHON:-/usr/bin/python3}
    "$python" -c 'import torch' 2>/dev/null || skip "torch is not installed"
    "$python" "$EVIDENCE/train-vision-family" --seed 5 --steps 4 vision 2>log
    "$EVIDENCE/run" --results r --method base --method average --method 'mixture*' --method calibrate vision
    [ "$(cut -f 2 r | sort -u | grep -c .)" = 5 ]
}
