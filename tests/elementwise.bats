#!/usr/bin/env bats
# What all element-wise filters promise.
load common
load refusals
load lesson

# Each with the options that it requires.
filters=("trim --density 0.4" "dare-drop --density 0.5 --seed 1 --l1"
    "della-drop --density 0.5 --epsilon 0.1 --seed 1" "elect-sign" "weigh 0.5" "rescale 2"
    "sce-select --topk 0.5" "sce-weigh" "model-stock" "add-noise 0.1")

@test "the list above has all element-wise filters" {
    grep -l '\.element_wise = true' "$ROOT"/filters/*.c | xargs -n 1 basename -s .c | sort >in_sources
    printf '%s\n' "${filters[@]%% *}" | sort | diff in_sources -
}

@test "integer tensors pass through unchanged" {
    printf '%s\n' "kind task-vectors" "model base role=base" "model math" "model code" \
        "tensor n 2x2" "vector math I64" "1 -2" "3 -4" "vector code I64" "5 6" "7 8" \
        "tensor w 2" "vector math" "1 -2" "vector code" "3 4" | from-text >good.tvs
    pick /n <good.tvs | tv-view --values | grep -v '^step' >expected
    for filter in "${filters[@]}"; do
        # shellcheck disable=SC2086
        $filter <good.tvs | pick /n | tv-view --values | grep -v '^step' | cmp - expected
    done
}

@test "streams of another kind are refused" {
    printf '%s\n' "kind activations" "model m" "tensor h 2" "vector m" "1 2" | from-text >h.tvs
    for filter in "${filters[@]}"; do
        # shellcheck disable=SC2086
        refused_with "the stream contains activations" $filter <h.tvs
    done
}

@test "--memory and --spool of any stage of a chain take effect" {
    printf '%s\n' "kind task-vectors" "model base role=base" "model math" "tensor w 40x64" \
        "vector math" >big.text
    for _ in $(seq 40); do seq -s ' ' 64 >>big.text; done
    from-text <big.text >big.tvs
    run tv run "rescale 1 | trim --density 0.5 --memory 1K --spool $T/nowhere" <big.tvs
    [ "$status" = 1 ]
    run tv run "rescale 1 --spool $T/nowhere | trim --density 0.5 --memory 1K" <big.tvs
    [ "$status" = 1 ]
}

@test "a non-finite tensor can be dropped with pick, and is refused otherwise" {
    printf '%s\n' "kind task-vectors" "model base role=base" "model math" "tensor a 1" \
        "vector math" "nan" "tensor b 1" "vector math" "1" | from-text --allow-nonfinite >nan.tvs
    pick --drop /a <nan.tvs | check
    refused_with "non-finite" pick /a <nan.tvs
}

@test "a glob that matches no tensor triggers a warning" {
    lesson | from-text >good.tvs
    trim --density '/w=0.5' --density '/nosuch*=0.2' --exclude 'other*' <good.tvs >out.tvs 2>said
    [ "$(wc -l <said)" = 2 ]
    grep -qF 'trim: warning: --density /nosuch*=0.2 matches no tensor' said
    grep -qF 'trim: warning: --exclude other* matches no tensor' said
}

@test "a rule that makes all rules before it useless is refused" {
    lesson | from-text >good.tvs
    usage_error weigh 0.4 0.6
    usage_error trim --density math=0.5 --density 0.2
    weigh 0.4 math=0.6 <good.tvs | check
}

@test "after a usage error the stages downstream fail silently" {
    run -1 --separate-stderr bash -c 'trim --densty 0.2 2>first | combine | check'
    [ -z "$stderr" ]
    grep -q "^trim: " first
}
