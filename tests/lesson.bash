# shellcheck shell=bash
# The tensors of the examples that are worked by hand, and what every filter must keep true.

# Two experts, one tensor of 2 x 3.
lesson() {
    cat <<END
kind task-vectors
model base role=base
model math role=expert
model code role=expert
tensor w 2x3
vector math
1 -2 0.5
0 0.25 3
vector code
-1 4 0.5
2 0 -3
END
}

# Whole weights, of the same shape.
weights() {
    lesson | sed 's/^kind .*/kind weights/; s/ role=.*//; /^model base/d'
}

# with_numbers MATH CODE: a lesson with other numbers, a slash between its rows
with_numbers() {
    sed '/^vector/,$d'
    printf 'vector math\n%s\nvector code\n%s\n' "${1/\//$'\n'}" "${2/\//$'\n'}"
}

# matrices ROW ROW ROW ROW: two experts with a tensor of 2 x 2, math and code
matrices() {
    printf 'kind task-vectors\nmodel base role=base\nmodel math role=expert\n'
    printf 'model code role=expert\ntensor w 2x2\nvector math\n%s\n%s\nvector code\n%s\n%s\n' "$@"
}

# numbers COMMAND...: the numbers of its output, a line for each vector, rounded
numbers() {
    "$@" | tensors | awk '/^vector/ { if (line) print line; line = ""; next } /^tensor/ { next }
        { for (i = 1; i <= NF; i++) line = line sprintf("%.4f ", $i) } END { print line }' |
        sed 's/-0\.0000/0.0000/g; s/ $//'
}

# long_names: two tensors with long names, of three models with long names
long_names() {
    printf 'kind task-vectors\n' && printf 'model organization/A-Model-of-Some-Size-7B-v0.%d role=expert\n' 1 2 3
    for n in 0 1; do
        printf 'tensor model.language_model.layers.%d.self_attn.rotary_embedding.q_proj.weight 2x3\n' $n
        printf "vector organization/A-Model-of-Some-Size-7B-v0.%d\n$n -2 0.5\n0 0.25 3\n" 1 2 3
    done
}

# good.tvs: the lesson as a stream
make_good() {
    lesson | from-text >good.tvs
}

# tensors: shows a stream from its first tensor on, without models, recipe, hashes, and the weights
# that a join has applied
tensors() {
    tensors_and_joined | sed '/^ *joined /d; /^ *parent$/d; /^ *end$/d'
}

tensors_and_joined() {
    tv-view --values | sed -n '/^tensor/,$p' | sed '/^hash/d'
}

# digests: like tensors, with a digest in place of the numbers of each vector. (Printing those of $BIG takes
# most of a second.)
digests() {
    /usr/bin/python3 "$TESTS/digests.py" | sed -n '/^tensor/,$p'
}

# $BIG, a stream of task vectors of several blocks, tensors without elements, scalars; made from the
# checkpoints base, math and code in $MODELS, which all files share. For setup_file.
MODELS=${BATS_RUN_TMPDIR-}/models BIG=${BATS_FILE_TMPDIR-}/big.tvs
make_big() {
    make_checkpoints
    tv-extract "$MODELS"/base "$MODELS"/math "$MODELS"/code >"$BIG"
}

# The first file makes them; those that run beside it wait.
make_checkpoints() {
    (
        flock 9
        [ -d "$MODELS" ] || { /usr/bin/python3 "$TESTS/models.py" "$MODELS.new" && mv "$MODELS.new" "$MODELS"; }
    ) 9>"$MODELS.lock"
}

# The same of weights, of two models.
make_big_weights() {
    make_checkpoints
    unpack "$MODELS"/base "$MODELS"/math >"$BIG"
}

# make_statistics STREAM: MODEL.gram and MODEL.diagonal for each of its models
make_statistics() {
    PYTHONPATH=$ROOT/share/etl PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$TESTS/model_statistics.py" <"$1"
}

# always_alike COMMAND...: the same bytes when repeated, from a pipe or a saved stream, on one or
# more threads, in little memory
always_alike() {
    "$@" <"$BIG" >.once
    [ -s .once ]
    "$@" <"$BIG" | cmp .once -
    # shellcheck disable=SC2002
    cat "$BIG" | "$@" | cmp .once -
    "$@" --threads 4 <"$BIG" | cmp .once -
    # shellcheck disable=SC2002
    cat "$BIG" | "$@" --threads 3 --memory 64K --spool . | cmp .once -
    "$@" --memory 64K <"$BIG" | cmp .once -
}

# leaves_alone COMMAND...: its tensors come out as they went in; only the recipe grows
leaves_alone() {
    digests <"$BIG" >.before
    "$@" <"$BIG" | digests | diff .before -
}

# make_seeing: qwen2-vl, a model that sees; qwen2, its decoder as a text model; qwen2-math, that with
# another number in the final norm
make_seeing() {
    ln -s "$GOLDEN/models/qwen2vl/tied/inmem" qwen2-vl
    unpack qwen2=qwen2-vl | pick '/model.language_model.*' | tv-rename --to text >qwen2
    tv-view --values <qwen2 | sed '/^hash/d; s/^model qwen2/&-math/; s/^vector qwen2/&-math/' |
        awk '/^tensor model.norm.weight/ { n = 3 } --n == 0 { $1 = "7" } 1' | from-text >qwen2-math
}
