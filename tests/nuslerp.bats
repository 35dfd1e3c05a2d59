#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

# Orthogonal; t = 1/3 and 2/3: sin 30 = 1/2, sin 60 = 0.8660254.
@test "a whole tensor, by weight" {
    lesson | with_numbers "4 0 0/0 0 0" "0 0 0/0 2 0" | from-text >good.tvs
    weigh math=2 code=1 <good.tvs | nuslerp | tensors >found
    diff -u - found <<ROWS
tensor w 2x3
vector merged no-source
3.4641016 0 0
0 1 0
ROWS
    weigh math=0.1 code=0.2 <good.tvs | nuslerp | tensors >found
    grep -qx "2 0 0" found
    grep -qx "0 1.7320508 0" found
}

# Row 1: orthogonal, t = 1/2: sin 45 = 0.70710678. Row 2: parallel.
@test "rows" {
    lesson | with_numbers "4 0 0/1 2 3" "0 2 0/3 6 9" | from-text | nuslerp --along rows | tensors >found
    diff -u - found <<ROWS
tensor w 2x3
vector merged no-source
2.828427 1.4142135 0
2 4 6
ROWS
}

# Columns: orthogonal, parallel, opposite.
@test "columns" {
    lesson | with_numbers "4 1 1/0 2 2" "0 3 -2/2 6 -4" | from-text | nuslerp --along columns | tensors >found
    diff -u - found <<ROWS
tensor w 2x3
vector merged no-source
2.828427 2 -0.5
1.4142135 4 -1
ROWS
}

@test "opposite vectors are interpolated linearly; weights that cancel give t = 1/2" {
    lesson | with_numbers "0.1 0.2 0.3/0.4 0.5 0.6" "-0.2 -0.4 -0.6/-0.8 -1 -1.2" | from-text >good.tvs
    for along in tensor rows columns; do
        weigh math=1 code=-1 <good.tvs | nuslerp --along $along | tensors >found
        grep -qx -- "-0.05 -0.1 -0.15" found
    done
}

@test "columns are the rows of the transposed matrix" {
    /usr/bin/python3 - <<'PY'
import random
random.seed(1)
for name, r, c in ("a", 3, 70000), ("b", 70000, 3):
    with open(name, "w") as f:
        f.write(f"kind weights\nmodel x\nmodel y\ntensor w {r}x{c}\n")
        for k in (1, 2):
            random.seed(k)
            m = [[random.randint(-9, 9) for _ in range(3)] for _ in range(70000)]
            m = list(zip(*m)) if r == 3 else m
            f.write(f"vector {'xy'[k - 1]}\n" + "".join(" ".join(map(str, x)) + "\n" for x in m))
PY
    from-text a | nuslerp --along columns | tv-view --values | grep '^[-0-9]' | tr ' ' '\n' | sort >columns
    from-text b | nuslerp --along rows | tv-view --values | grep '^[-0-9]' | tr ' ' '\n' | sort >rows
    cmp rows columns
    from-text a | nuslerp --along rows >wide.tvs
    check wide.tvs
}

@test "of three dimensions a column runs along the first" {
    printf 'kind weights\nmodel x\nmodel y\ntensor w 2x2x2\n' >cube
    printf 'vector x\n4 1\n1 1\n0 2\n2 1\nvector y\n0 3\n-2 1\n2 6\n-4 1\n' >>cube
    from-text cube | nuslerp --along columns | tensors >found
    diff -u - found <<ROWS
tensor w 2x2x2
vector merged no-source
2.828427 2
-0.5 1
1.4142135 4
-1 1
ROWS
}

@test "a tensor of one dimension is always one vector" {
    printf 'kind weights\nmodel x\nmodel y\ntensor w 2\nvector x\n4 0\nvector y\n0 2\n' | from-text >one.tvs
    for along in tensor rows columns; do
        nuslerp --along $along <one.tvs | tensors | grep -cx "2.828427 1.4142135"
    done
}

@test "equal vectors are unchanged; t = 0 and 1 give the models" {
    for along in tensor rows columns; do
        weigh math=0 code=3 <"$BIG" | nuslerp --along $along | digests | grep -v ^vector >found
        pick code <"$BIG" | digests | grep -v ^vector | diff -q - found
    done
}

@test "the same bytes from a file or a pipe, with threads, in little memory" {
    always_alike nuslerp
    always_alike nuslerp --along rows
    always_alike nuslerp --along columns
}

@test "refuses broken streams and outputs" {
    make_good
    for along in tensor rows columns; do
        refuses_bad_streams nuslerp --along $along
        refuses_nonfinite nuslerp --along $along
    done
    refuses_bad_output nuslerp
}

@test "usage errors" {
    usage_error nuslerp --along diagonal
    usage_error nuslerp operand
}
