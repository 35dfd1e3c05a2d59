#!/usr/bin/env bats
load common
load lesson
load refusals

SPECTRAL=$GOLDEN/spectral

setup_file() { make_big; }

setup() {
    own_folder
    lesson | with_numbers "5 -2 4/0 1 0" "2 3 0/-6 1 0" | from-text >good.tvs
    gram math "2 1 0/1 1 0/0 0 1"
    gram code "1 0 0/0 1 0/0 0 0"
}

# gram MODEL ROWS [TENSOR]: MODEL.gram, with one matrix
gram() {
    local shape rows
    IFS=/ read -ra rows <<<"$2"
    shape=${#rows[@]}x$(wc -w <<<"${rows[0]}")
    printf '%s\n' 'kind activations' "model $1" "tensor ${3:-w} $shape" "vector $1" "${rows[@]}" |
        from-text --allow-nonfinite >"$1.gram"
}

grams=(--gram math=math.gram --gram code=code.gram)

# merged ROW1 ROW2 OPTION...: the result of good.tvs
merged() {
    regmean "${grams[@]}" "${@:3}" <good.tvs | tensors >found
    printf '%s\n' "tensor w 2x3" "vector merged no-source" "$1" "$2" | diff -u - found
}

# The sum of the matrices is (3 1; 1 2), its inverse (0.4 -0.2; -0.2 0.6), and 1 for the third input.
# Row 1: (5 -2) G_math + (2 3) G_code = (10 6); row 2: (1 1) + (-6 1) = (-5 2).
@test "two models by hand" {
    merged "2.8 1.6 4" "-2.4 2.2 0" --reduce 1
    merged "4 0.5 4" "-2 1 0" --reduce 0
    regmean "${grams[@]}" <good.tvs >default.tvs
    regmean "${grams[@]}" --reduce 0.9 <good.tvs | tv-diff - default.tvs
}

@test "an input that is always 0: the mean" {
    gram math "2 1 0/1 1 0/0 0 0"
    merged "2.8 1.6 2" "-2.4 2.2 0" --reduce 1
}

@test "one model comes back; with equal Gram matrices the mean; weights as task vectors" {
    pick math <good.tvs | regmean --gram math=math.gram | tensors >found
    grep -qx "5 -2 4" found
    gram code "2 1 0/1 1 0/0 0 1"
    merged "3.5 0.5 2" "-3 1 0"
    lesson | sed 's/^kind .*/kind weights/' | with_numbers "6 0 7/4 6 6" "3 5 3/-2 6 6" | from-text >good.tvs
    gram code "1 0 0/0 1 0/0 0 0"
    merged "3.8 3.6 7" "1.6 7.2 6" --reduce 1
}

@test "what is no matrix, and a matrix without Gram matrices, is averaged" {
    { lesson && printf '%s\n' 'tensor x 3' 'vector math' '1 2 3' 'vector code' '3 3 3' \
        'tensor y 1x2' 'vector math' '1 2' 'vector code' '3 3'; } | from-text | regmean "${grams[@]}" | tensors >found
    sed -n '/^tensor x/,$p' found | diff -u - <(printf '%s\n' 'tensor x 3' 'vector merged no-source' '2 2.5 3' \
        'tensor y 1x2' 'vector merged no-source' '2 2.5')
}

# bats test_tags=products
@test "as numpy solves it, within a float's rounding; repeated, on any number of threads" {
    make_statistics "$BIG"
    grams=(--gram math=math.gram --gram code=code.gram)
    always_alike regmean "${grams[@]}"
    PYTHONPATH=$ROOT/share/etl:$TESTS /usr/bin/python3 - "$BIG" <<'END'
import sys
import numpy as np
import tvstream
from activations import read_safetensors
def reduced(g):
    return 0.9 * g + 0.1 * np.diag(np.diag(g))
grams = [{name: reduced(g.astype(np.float64)) for name, g in read_safetensors(f"{m}.gram").items()}
         for m in ("math", "code")]
found = {t["name"]: tvstream.whole(t, b)[0] for t, b in tvstream.Reader(open(".once", "rb"))}
checked = 0
for t, blocks in tvstream.Reader(open(sys.argv[1], "rb")):
    x, name = [np.asarray(v, np.float64) for v in tvstream.whole(t, blocks)], t["name"]
    if not tvstream.is_float(t) or not x[0].size:
        continue
    expected = sum(x) / 2
    if name in grams[0]:
        g = [m[name] for m in grams]
        expected = np.linalg.solve(sum(g), sum(a @ b.T for a, b in zip(g, x))).T
        checked += 1
    assert abs(found[name] - expected).max() <= 1e-6 * abs(expected).max(), name
assert checked == 2, checked
END
}

# row CASE OPTION...: the task vector of a golden case, within its tolerance
row() {
    local models=$SPECTRAL/models/full experts=(math code chat law) n tolerance e
    [ -d "$SPECTRAL/cases/$1" ] || skip "only in the full golden data"
    read -r n tolerance < <(awk -F'\t' -v c="$1" '$1 == c { print $4, $6 }' "$SPECTRAL/checks.tsv")
    experts=("${experts[@]:0:n}") grams=()
    for e in "${experts[@]}"; do grams+=(--gram "$e=$models/grams/$e.safetensors"); done
    tv-extract "$models/base" "${experts[@]/#/$models/}" | regmean "${grams[@]}" "${@:2}" |
        pack --onto "$models/zero" merged.safetensors
    equals merged.safetensors "$SPECTRAL/cases/$1/expected.safetensors" "$tolerance" 0
}

# bats test_tags=products
@test "golden: all of the Gram matrices, and their diagonals alone" {
    row regmean-k2-full --reduce 1
    rm merged.safetensors
    row regmean-k4-diag --reduce 0
}

@test "files that do not fit the stream" {
    refused_with "there is no --gram for the model code" regmean --gram math=math.gram <good.tvs
    refused_with "the stream has no model chat" regmean "${grams[@]}" --gram chat=code.gram <good.tvs
    refused_with "--gram is given twice for the model math" regmean "${grams[@]}" --gram math=code.gram <good.tvs
    refused_with "nowhere is not a file" regmean --gram math=nowhere --gram code=code.gram <good.tvs
    refused_with "good.tvs contains task-vectors; expected a stream of weights or activations" \
        regmean --gram math=good.tvs --gram code=code.gram <good.tvs
    gram code "1 0/0 1"
    refused_with "tensor w of code.gram has shape (2, 2); expected (3, 3)" regmean "${grams[@]}" <good.tvs
    gram code "1 0 0/0 1 0/0 0 1" other
    refused_with "code.gram has no tensor w, which other files of --gram have" regmean "${grams[@]}" <good.tvs
    gram math "1 0 0/0 1 0/0 0 1" other
    refused_with "no file of --gram contains a tensor of the stream" regmean "${grams[@]}" <good.tvs
}

@test "matrices that are no Gram matrices" {
    gram code "1 2 0/0 1 0/0 0 1"
    refused_with "the Gram matrix of tensor w in code.gram is not symmetric in row 1, column 0" regmean "${grams[@]}" <good.tvs
    gram code "1 0 0/0 nan 0/0 0 1"
    refused_with "the Gram matrix of tensor w in code.gram is not finite in row 1, column 1" regmean "${grams[@]}" <good.tvs
    gram code "1 0 0/0 -1 0/0 0 1"
    refused_with "the Gram matrix of tensor w in code.gram is negative in row 1, column 1" regmean "${grams[@]}" <good.tvs
    gram math "1 1 0/1 1 0/0 0 1"
    gram code "1 1 0/1 1 0/0 0 1"
    refused_with "the sum of the Gram matrices of tensor w is not positive definite; use more samples or a smaller --reduce" \
        regmean "${grams[@]}" --reduce 1 <good.tvs
    regmean "${grams[@]}" <good.tvs | check --quiet
}

@test "weights, usage, bad streams" {
    weigh math=0.5 <good.tvs >weighed.tvs
    refused_with "tensor w of math has a weight" regmean "${grams[@]}" <weighed.tvs
    usage_error regmean
    for wrong in math.gram =math.gram math= =; do
        usage_error_with "--gram $wrong: expected MODEL=FILE" regmean --gram $wrong
    done
    usage_error regmean "${grams[@]}" --reduce 1.5
    usage_error regmean "${grams[@]}" --reduce -1
    refuses_nonfinite regmean "${grams[@]}"
    refuses_bad_streams regmean "${grams[@]}"
    refuses_bad_output regmean "${grams[@]}"
}
