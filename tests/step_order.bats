#!/usr/bin/env bats
# Steps in an unusual order: a warning that names the usual one, or an error that says what to do.
load common
load lesson
load refusals

# warns SENTENCE FILTER...: behind combine, the filter runs and prints one warning
warns() {
    lesson | from-text | combine | "${@:2}" 2>.err | check --quiet
    grep -qF -- "$1" .err || wrong "${*:2}: $(cat .err)"
    one_sentence "$2"
}

@test "a step that belongs before the join warns behind it" {
    warns "elect-sign: warning: the vectors are merged already; put elect-sign before combine" elect-sign
    warns "weigh: warning: the vectors are merged already; put weigh before combine" weigh 0.5
    warns "put sce-select before combine" sce-select --topk 0.5
    warns "put sce-weigh before combine" sce-weigh
    lesson | from-text | combine | trim --density 0.5 2>.err | check --quiet
    [ ! -s .err ]
}

@test "a step that compares vectors warns if there is one" {
    lesson | from-text | pick math | elect-sign 2>.err | check --quiet
    grep -qF "every tensor has only one vector, so elect-sign has nothing to compare" .err
    lesson | from-text | elect-sign 2>.err | weigh 0.5 2>>.err | check --quiet
    [ ! -s .err ]
}

@test "errors of order say what to do" {
    lesson | from-text | combine >merged.tvs
    refused_with "leave one of the two joins out, or name this result with --name" combine <merged.tvs
    combine --name again <merged.tvs | check --quiet
    printf '%s\n' "kind weights" "model base" "tensor w 2x3" "vector base" "0 0 0" "0 0 0" | from-text >base.tvs
    weigh 0.5 <merged.tvs >weighed.tvs 2>.err
    refused_with "put combine before pack, and weigh before combine" pack --base base.tvs out.safetensors <weighed.tvs
}
