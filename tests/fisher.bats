#!/usr/bin/env bats
load common
load lesson
load refusals

SPECTRAL=$GOLDEN/spectral

setup_file() { make_big; }

setup() {
    own_folder
    lesson | with_numbers "5 -2 4/0 1 0" "2 3 0/-6 1 0" | from-text >good.tvs
    diagonal math "3 1 0/1 1 0"
    diagonal code "1 1 0/1 3 0"
}

# diagonal MODEL ROWS [TENSOR]: MODEL.fisher, with one tensor
diagonal() {
    printf '%s\n' 'kind activations' "model $1" "tensor ${3:-w} 2x3" "vector $1" "${2/\//$'\n'}" |
        from-text --allow-nonfinite >"$1.fisher"
}

diagonals=(--diagonal math=math.fisher --diagonal code=code.fisher)

# merged ROW1 ROW2: the result of standard input
merged() {
    fisher "${diagonals[@]}" | tensors >found
    printf '%s\n' "tensor w 2x3" "vector merged no-source" "$1" "$2" | diff -u - found
}

@test "two models by hand: weighted by the diagonals, the mean where both are 0" {
    merged "4.25 0.5 2" "-3 1 0" <good.tvs
    weigh math=1 code=3 <good.tvs | merged "3.5 1.75 1" "-4.5 1 0"
    lesson | sed 's/^kind .*/kind weights/' | with_numbers "6 0 7/4 6 6" "3 5 3/-2 6 6" | from-text |
        merged "5.25 2.5 5" "1 6 6"
}

@test "equal diagonals give the mean; a tensor that no file has is averaged" {
    cp math.fisher code.fisher
    merged "3.5 0.5 2" "-3 1 0" <good.tvs
    { lesson && printf '%s\n' 'tensor x 2' 'vector math' '1 2' 'vector code' '3 3'; } | from-text >two.tvs
    fisher "${diagonals[@]}" <two.tvs | pick /x | tensors | grep -qx "2 2.5"
}

@test "repeated, on any number of threads" {
    make_statistics "$BIG"
    always_alike fisher --diagonal math=math.diagonal --diagonal code=code.diagonal
}

# row CASE WEIGHT...: the task vector of a golden case, within its tolerance
row() {
    local models=$SPECTRAL/models/full experts=(math code chat law) n tolerance e
    [ -d "$SPECTRAL/cases/$1" ] || skip "only in the full golden data"
    read -r n tolerance < <(awk -F'\t' -v c="$1" '$1 == c { print $4, $6 }' "$SPECTRAL/checks.tsv")
    experts=("${experts[@]:0:n}") diagonals=()
    for e in "${experts[@]}"; do diagonals+=(--diagonal "$e=$models/fisher/$e.safetensors"); done
    tv-extract "$models/base" "${experts[@]/#/$models/}" | weigh "${@:2}" | fisher "${diagonals[@]}" |
        pack --onto "$models/zero" merged.safetensors
    equals merged.safetensors "$SPECTRAL/cases/$1/expected.safetensors" "$tolerance" 0
}

@test "golden: two models with coefficients, four without" {
    row fisher-k2-coeff math=0.3 code=0.7
    rm merged.safetensors
    row fisher-k4 1
}

@test "files and weights that do not fit" {
    refused_with "there is no --diagonal for the model code" fisher --diagonal math=math.fisher <good.tvs
    diagonal code "1 1 0/1 3 0" other
    refused_with "code.fisher has no tensor w, which other files of --diagonal have" fisher "${diagonals[@]}" <good.tvs
    diagonal math "1 1 0/1 3 0" other
    refused_with "no file of --diagonal contains a tensor of the stream" fisher "${diagonals[@]}" <good.tvs
    diagonal math "1 1 0/1 -3 0"
    diagonal code "1 1 0/1 3 0"
    refused_with "tensor w of math.fisher has -3 at index 4; expected a finite number that is not negative" \
        fisher "${diagonals[@]}" <good.tvs
    diagonal math "1 1 nan/1 3 0"
    refused_with "tensor w of math.fisher has nan at index 2" fisher "${diagonals[@]}" <good.tvs
    diagonal math "1 1 0/1 3 0"
    weigh math=-1 <good.tvs >weighed.tvs
    refused_with "tensor w has a negative weight, -1" fisher "${diagonals[@]}" <weighed.tvs
    weigh 0 <good.tvs >weighed.tvs
    refused_with "the weights of tensor w add up to 0" fisher "${diagonals[@]}" <weighed.tvs
}

@test "usage, bad streams" {
    usage_error fisher
    usage_error fisher --diagonal
    usage_error_with "--diagonal =: expected MODEL=FILE" fisher --diagonal =
    refuses_nonfinite fisher "${diagonals[@]}"
    refuses_bad_streams fisher "${diagonals[@]}"
    refuses_bad_output fisher "${diagonals[@]}"
}
