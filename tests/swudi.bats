#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

# |math|^2 = 5, |code|^2 = 9; C = diag(4/5 + 1, 1/5) = diag(1.8, 0.2). The first eigenvalue is 90 %
# of the sum.
example() { matrices "2 0" "0 1" "3 0" "0 0" | from-text; }

# f = (1, 0): 2 (4/5) / 1.8 = 0.8889, 3 / 1.8 = 1.6667; the second direction is not used.
# bats test_tags=products
@test "an example" {
    example | numbers swudi >found
    printf '%s\n' "0.8889 0.0000 0.0000 1.0000" "1.6667 0.0000 0.0000 0.0000" | diff -u - found
    example | swudi | numbers combine >found
    echo "2.5556 0.0000 0.0000 1.0000" | diff -u - found
}

# f_1 = 1 - exp(-1.8) = 0.83470, f_2 = 1 - exp(-0.2) = 0.18127, which changes nothing where only one
# expert has the direction.
# bats test_tags=products
@test "time and rank" {
    printf '%s\n' "1.0726 0.0000 0.0000 1.0000" "1.8871 0.0000 0.0000 0.0000" >want
    example | numbers swudi --time 1 | diff -u want -
    example | numbers swudi --time 1 --rank all | diff -u want -
    example | numbers swudi --time 1 --init zero >found
    printf '%s\n' "0.7420 0.0000 0.0000 0.0000" "1.3912 0.0000 0.0000 0.0000" | diff -u - found
    example | numbers swudi --init mean --filter none >found
    printf '%s\n' "0.8889 0.0000 0.0000 0.5000" "1.6667 0.0000 0.0000 0.0000" | diff -u - found
}

# bats test_tags=products
@test "experts with orthogonal rows do not interfere; equal experts become their mean" {
    matrices "2 0" "1 0" "0 3" "0 1" | from-text | numbers swudi --rank all >found
    printf '%s\n' "2.0000 0.0000 1.0000 0.0000" "0.0000 3.0000 0.0000 1.0000" | diff -u - found
    matrices "2 1" "1 -3" "2 1" "1 -3" | from-text | numbers swudi --rank all >found
    printf '%s\n' "1.0000 0.5000 0.5000 -1.5000" "1.0000 0.5000 0.5000 -1.5000" | diff -u - found
}

@test "an expert that did not change the matrix is left out; where none did, nothing changes" {
    matrices "0 0" "0 0" "3 0" "0 1" | from-text | numbers swudi --rank all >found
    printf '%s\n' "0.0000 0.0000 0.0000 0.0000" "3.0000 0.0000 0.0000 1.0000" | diff -u - found
    matrices "0 0" "0 0" "0 0" "0 0" | from-text | numbers swudi >found
    printf '%s\n' "0.0000 0.0000 0.0000 0.0000" "0.0000 0.0000 0.0000 0.0000" | diff -u - found
    example | pick math | numbers swudi --rank all >found
    echo "2.0000 0.0000 0.0000 1.0000" | diff -u - found
}

@test "the result scales with the vectors" {
    example | swudi | rescale 1024 | tensors >want
    example | rescale 1024 | swudi | tensors | diff want -
}

@test "embeddings, heads and tensors that are not matrices are divided by K" {
    {
        printf 'kind task-vectors\nmodel math role=expert\nmodel code role=expert\n'
        for name in lm_head.weight model.embed_tokens.weight; do
            printf 'tensor %s 1x2\nvector math\n2 0\nvector code\n4 0\n' $name
        done
        printf 'tensor norm 2\nvector math\n2 0\nvector code\n4 0\n'
        printf 'tensor z 1x1x2\nvector math\n2 0\nvector code\n4 0\n'
        printf 'tensor e 0x3\nvector math\nvector code\n'
    } >text
    from-text text | swudi | tensors | grep '^[0-9]' | sort | uniq -c | awk '{ print $1, $2 }' >found
    printf '%s\n' "4 1" "4 2" | diff -u - found
    # Equal directions: C = diag(2, 0), and each vector is halved as well.
    sed -i 's/^4 0$/6 0/' text
    from-text text | swudi --matrices all | tensors | grep '^[0-9]' | sort | uniq -c |
        awk '{ print $1, $2 }' >found
    printf '%s\n' "4 1" "4 3" | diff -u - found
}

# Of 3 rows and 40 columns the eigenvectors come from the smaller Gram matrix; the same matrix below
# 40 rows of noughts does not.
# bats test_tags=products
@test "few rows give the same result as many" {
    /usr/bin/python3 - <<'PY'
import random
for name, noughts in ("few", 0), ("many", 40):
    random.seed(2)
    with open(name, "w") as f:
        f.write(f"kind task-vectors\nmodel a\nmodel b\ntensor w {3 + noughts}x40\n")
        for k in "ab":
            f.write(f"vector {k}\n")
            rows = [[random.gauss(0, 1) for _ in range(40)] for _ in range(3)] + [[0] * 40] * noughts
            f.write("".join(" ".join(map(repr, row)) + "\n" for row in rows))
PY
    for options in "" "--rank all" "--rank ratio" "--rank entropy --init mean" \
        "--rank gavish-donoho --filter none" "--filter none --rank participation-sqrt"; do
        # shellcheck disable=SC2086
        from-text few | swudi $options | tv-view --values | grep -A3 '^vector' | grep -v '^vector\|^--$' >a
        # shellcheck disable=SC2086
        from-text many | swudi $options | tv-view --values | grep -A3 '^vector' | grep -v '^vector\|^--$' >b
        case $options in *gavish*) continue ;; esac # its threshold depends on the number of rows
        paste -d ' ' a b | awk '{ for (i = 1; i <= 40; i++) if (($i - $(i + 40)) ^ 2 > 1e-12) exit 1 }'
    done
}

@test "the same bytes from a file or a pipe, with threads, in little memory" {
    always_alike swudi --matrices all
}

@test "the same bytes in one process" {
    swudi <"$BIG" | combine >piped.tvs
    for threads in 1 2 3; do
        tv run --threads=$threads 'swudi | combine' <"$BIG" | cmp piped.tvs -
        tv run --threads=$threads "tv-extract $MODELS/base $MODELS/math $MODELS/code | swudi |
            combine" | tensors | cmp - <(tensors <piped.tvs)
    done
    swudi <"$BIG" | trim --density 0.5 --scope model | weigh 0.3 | combine | digests >piped
    tv run 'swudi | trim --density 0.5 --scope model | weigh 0.3 | combine' <"$BIG" | digests |
        cmp - piped
}

@test "several matrices at once: the same bytes and errors with any number of threads and memory" {
    local models="$MODELS/base $MODELS/math $MODELS/code"
    local line="iso-merge | rescale 0.5 | pack --base $MODELS/base --force"
    tv run --threads=1 "tv-extract $models | trim --density 0.9 | swudi | $line one.safetensors"
    for options in "2 1G" "7 1G" "4 64K" "4 2M"; do
        tv run --threads="${options% *}" "tv-extract $models | trim --density 0.9 |
            swudi --memory ${options#* } | $line many.safetensors"
        cmp one.safetensors many.safetensors
    done
    unpack "$MODELS/math" | tv-view --values | sed '/^hash/d' |
        awk '/^tensor/ { n++ } n == 4 && /^[0-9-]/ && !done { $1 = "nan"; done = 1 } 1' |
        from-text --allow-nonfinite >nan.tvs
    for threads in 1 2 5; do
        REFUSED_BY=tv-extract refused tv run --threads=$threads \
            "tv-extract $MODELS/base nan.tvs | swudi | combine | pack --base $MODELS/base out"
        cp .err "err$threads"
    done
    cmp err1 err2
    cmp err1 err5
}

@test "weights come after it" {
    example | weigh math=0.5 >weighed.tvs
    refused_with "tensor w of math has a weight, which this method does not use: put weigh after swudi" \
        swudi <weighed.tvs
    example | swudi | weigh math=0.5 | numbers combine >found
    echo "2.1111 0.0000 0.0000 0.5000" | diff -u - found
}

@test "the attributes of the payload are dropped" {
    example | trim --density 0.5 | swudi >swept.tvs
    refused_with "no earlier stage recorded its L1 norm" rescale --by l1 <swept.tvs
}

@test "refuses broken streams" {
    make_good
    refuses_bad_streams swudi
    refuses_nonfinite swudi
    refused_with "tensor w of code has a non-finite number, which this method does not support" \
        swudi --allow-nonfinite <.nan.tvs
}

@test "refuses a full disk and a closed output" {
    make_good
    refuses_bad_output swudi
}

@test "refuses whole weights, and matrices that are too large, before any work" {
    weights | from-text >weights.tvs
    refused_with "this filter requires task-vectors" swudi <weights.tvs
    /usr/bin/python3 - <<'PY'
import json
for name in "base", "math":
    head = json.dumps({"w": {"dtype": "BF16", "shape": [33000, 33000],
                             "data_offsets": [0, 2 * 33000**2]}}).encode()
    with open(name + ".safetensors", "wb") as f:
        f.write(len(head).to_bytes(8, "little") + head)
        f.truncate(8 + len(head) + 2 * 33000**2)
PY
    REFUSED_BY=swudi refused_with "tensor w is (33000, 33000); this method needs the eigenvectors of a matrix of 33000 rows, and at most 32766 are supported" \
        tv run 'tv-extract base.safetensors math.safetensors | swudi | combine'
}

@test "without OpenBLAS it says so" {
    make_good
    mkdir empty
    touch empty/libopenblas.so.0 empty/libopenblas.so empty/libopenblasp.so.0
    LD_LIBRARY_PATH=$PWD/empty refused_with "cannot load libopenblas.so.0 (OpenBLAS)" swudi <good.tvs
}

@test "usage errors" {
    usage_error swudi operand
    usage_error swudi --time 0
    usage_error swudi --fraction 0
    usage_error swudi --fraction 1.5
    usage_error swudi --rank best
    make_good
    usage_error_with "--fraction needs --rank cumvar or --rank ratio" \
        swudi --rank entropy --fraction 0.5
}
