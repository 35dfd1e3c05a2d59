#!/usr/bin/env bats
# What all joins promise. A new join is found by its call of join_declare_merged_model.
load common
load lesson
load refusals

JOINS=$(grep -l join_declare_merged_model "$ROOT"/filters/*.c | xargs -n 1 basename -s .c | tr '\n' ' ')

# join NAME [OPTION...]: runs a join with the options that it requires
join() {
    case $1 in
    slerp | nearswap) "$1" --t 0.5 "${@:2}" ;;
    regmean) with_statistics gram "$@" ;;
    fisher) with_statistics diagonal "$@" ;;
    *) "$@" ;;
    esac
}

# with_statistics OPTION COMMAND...: runs it with a file of statistics for each model of its input
with_statistics() {
    local folder=$BATS_TEST_TMPDIR/.statistics file files=()
    rm -rf "$folder"
    mkdir "$folder"
    cat >"$folder/input"
    (cd "$folder" && make_statistics input)
    for file in "$folder"/*."$1"; do
        files+=("--$1=$(basename "$file" ".$1")=$file")
    done
    "${@:2}" "${files[@]}" <"$folder/input"
}

# kind_of NAME FILE: sets the kind of a stream as text to one that the join takes
kind_of() {
    local kind=task-vectors
    ! grep -q KIND_WEIGHTS "$ROOT/filters/$1.c" || kind=weights
    sed -i "s/^kind .*/kind $kind/" "$2"
}

# input_of NAME: the lesson as a stream of the kind that the join takes
input_of() {
    case $1 in
    slerp | nearswap | arcee-fusion) weights | from-text ;;
    *) make_good && cat good.tvs ;;
    esac
}

@test "the result is a new model with the given name" {
    for f in $JOINS; do
        input_of "$f" | join "$f" --name soup | tv-view --values >found
        grep -q "^model soup role=merged" found
        [ "$(grep -c ^vector found)" = 1 ]
        grep -q "^vector soup no-source$" found
        REFUSED_BY=$f refused_with math join "$f" --name math < <(input_of "$f")
    done
}

@test "integer tensors are joined only if all models agree" {
    printf 'kind weights\nmodel a\nmodel b\ntensor i 2\nvector a I64\n1 2\nvector b I64\n1 2\n' >same
    for f in $JOINS; do
        kind_of "$f" same
        from-text same | join "$f" | tensors >found
        printf 'tensor i 2\nvector merged I64 no-source\n1 2\n' | diff -u - found
        sed '$s/1 2/1 3/' same | from-text >other.tvs
        REFUSED_BY=$f refused_with "tensor i is I64 and differs" join "$f" <other.tvs
        sed 's/vector a I64/& weight=2/' same | from-text >weighed.tvs
        REFUSED_BY=$f refused_with "tensor i is I64 and cannot be weighted" join "$f" <weighed.tvs
        sed '$s/1 2/1 3/; s/vector b I64/vector b F32/' same | from-text >other.tvs
        REFUSED_BY=$f refused_with "tensor i is I64 in one model and F32 in another" \
            join "$f" <other.tvs
    done
}

@test "quantized weights (F8) are refused" {
    printf 'kind weights\nmodel a\nmodel b\ntensor i 2\nvector a F8_E4M3\n00 01\nvector b F32\n1 2\n' |
        from-text >eight.tvs
    for f in combine slerp nearswap nuslerp multislerp karcher arcee-fusion regmean fisher; do
        REFUSED_BY=$f refused_with "quantized" join "$f" <eight.tvs
    done
}

@test "tensors of several dtypes, empty tensors, scalars" {
    cat >mixed <<MIXED
kind weights
model a
model b
tensor empty 0x3
vector a
vector b
tensor half 2
vector a F16
1 0
vector b BF16
1 0
tensor one scalar
vector a
2
vector b F64
2
MIXED
    printf '%s\n' "tensor empty 0x3" "tensor half 2" "1 0" "tensor one scalar" 2 >want
    for f in $JOINS; do
        kind_of "$f" mixed
        [ "$f" != combine ] || f="combine --normalize=all"
        # shellcheck disable=SC2086
        from-text mixed | join $f | tensors | grep -v '^vector' | diff -u want -
    done
}

@test "weights are used or refused, never lost" {
    for f in slerp nearswap arcee-fusion ram regmean; do
        input_of "$f" | weigh math=0.5 >weighed.tvs
        REFUSED_BY=$f refused_with "tensor w of math has a weight" join "$f" <weighed.tvs
    done
    printf 'w\tmath\t0\t2\nw\tmath\t1\t0\n' >table
    for f in slerp nearswap arcee-fusion ram nuslerp multislerp karcher regmean fisher; do
        input_of "$f" | weigh --table table >lists.tvs
        REFUSED_BY=$f refused_with "tensor w of math has a weight" join "$f" <lists.tvs
    done
    for f in combine nuslerp multislerp karcher fisher; do
        input_of "$f" | weigh math=0.5 | join "$f" | tensors >found
        [ "$(grep -c '^vector.*weight' found)" = 0 ]
    done
}

@test "the weights that a join applied are in its output, also those of earlier joins" {
    for f in $JOINS; do
        input_of "$f" | join "$f" | tensors_and_joined >found
        [ "$(grep -c ^joined found)" = 0 ]
        # One vector was made by a join.
        input_of "$f" | tv-view --values | sed '/^vector code/a joined x weight=0.25' | from-text |
            join "$f" | tensors_and_joined | grep -v '^[-0-9]' >found
        diff -u - found <<END
tensor w 2x3
vector merged no-source
joined math
joined code
  parent
    joined x weight=0.25
  end
END
    done
    for f in combine nuslerp multislerp karcher fisher; do
        input_of "$f" | weigh math=0.5 code=0.1 | join "$f" --name first |
            weigh 2 | pick first | combine | rescale 3 >twice.tvs
        tensors_and_joined <twice.tvs | grep -v '^[-0-9]' >found
        diff -u - found <<END
tensor w 2x3
vector merged no-source
joined first weight=2
  parent
    joined math weight=0.5
    joined code weight=0.1
  end
END
    done
    # Joins of joins: eight levels are kept.
    make_good
    weigh 0.5 <good.tvs | combine --name m1 >m1.tvs
    for i in 2 3 4 5 6 7 8 9 10; do weigh 0.5 <m$((i - 1)).tvs | combine --name m$i >m$i.tvs; done
    [ "$(tensors_and_joined <m10.tvs | grep -c joined)" = 8 ]
}

@test "the same bytes in one process" {
    make_big
    local weights="unpack $MODELS/base $MODELS/math" deltas="tv-extract $MODELS/base $MODELS/math $MODELS/code"
    for line in "$weights | slerp --t 0.3" "$weights | nearswap --t 0.01" "$weights | arcee-fusion" \
        "$weights | karcher" "$deltas | trim --density 0.3 | nuslerp --along rows" \
        "$deltas | rescale 2 | nuslerp --along columns" "$deltas | weigh 0.4 | multislerp" \
        "$deltas | trim --density 0.3 | ram --plus"; do
        eval "$line" >piped.tvs
        tv run --threads=2 "$line" | cmp piped.tvs -
    done
}

@test "the number of vectors is checked when the stream is opened" {
    for f in slerp nearswap arcee-fusion nuslerp; do
        input_of "$f" | pick math >one.tvs
        REFUSED_BY=$f refused_with "tensor w has 1 vector; expected exactly 2" join "$f" <one.tvs
        input_of "$f" | tv-view --values | sed '/^model code/a model chat' >three
        printf 'vector chat\n1 2 3\n4 5 6\n' >>three
        sed -i '/^hash/d' three
        from-text three >three.tvs
        REFUSED_BY=$f refused_with "tensor w has 3 vectors; expected exactly 2" join "$f" <three.tvs
    done
    # Two vectors each, but of different models.
    printf 'kind weights\nmodel a\nmodel b\nmodel c\n' >mixed
    printf 'tensor s 1\nvector a\n1\nvector b\n2\ntensor t 1\nvector b\n1\nvector c\n2\n' >>mixed
    from-text mixed >mixed.tvs
    REFUSED_BY=slerp refused_with "vector 1 of tensor t is of b; expected a, as in tensor s" \
        join slerp <mixed.tvs
    combine <mixed.tvs | tv-view >/dev/null
}

@test "numbers per tensor: every tensor needs a rule, and rules name no model" {
    input_of slerp >good.tvs
    for f in slerp nearswap; do
        refused_with "--t has no rule for tensor w" "$f" --t /v=1 <good.tvs
        refused_with "--t math=1 names a model" "$f" --t math=1 <good.tvs
    done
}
