#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

@test "adds to each vector noise of its own, by its scale" {
    lesson | from-text >in.tvs
    add-noise 0.5 code=0 --seed 3 <in.tvs | tensors >found
    tensors <in.tvs | sed -n '/^vector code/,$p' | diff -u - <(sed -n '/^vector code/,$p' found)
    # z of AS 241 from the uniform numbers of seed 3, model math, tensor w
    from-text <<END | add-noise 1 --seed 3 | tensors | tail -2 >z
kind task-vectors
model math role=expert
tensor w 2x3
vector math
0 0 0
0 0 0
END
    paste -d ' ' <(sed -n '/^vector math/,/^vector code/p' found | sed 1d | head -2) z |
        awk '{ split(NR == 1 ? "1 -2 0.5" : "0 0.25 3", x)
               for (i = 1; i <= 3; i++) if (($i - x[i] - 0.5 * $(i + 3))^2 > 1e-12) exit 1 }'
}

@test "scale 0, and tensors that no rule matches: nothing changes" {
    lesson | from-text >in.tvs
    add-noise 0 <in.tvs | tensors | diff -u <(tensors <in.tvs) -
    add-noise '/other=1' <in.tvs | tensors | diff -u <(tensors <in.tvs) -
    add-noise 1 --exclude w <in.tvs | tensors | diff -u <(tensors <in.tvs) -
}

@test "the same bytes with any number of threads, and for the same seed" {
    add-noise 0.1 --seed 7 <"$BIG" >once
    add-noise 0.1 --seed 7 --threads 4 <"$BIG" | cmp - once
    add-noise 0.1 --seed 8 <"$BIG" >other
    run ! cmp -s other once
}

@test "rejects bad streams and outputs" {
    make_good
    refuses_bad_streams add-noise 0.1
    refuses_bad_output add-noise 0.1
    refuses_nonfinite add-noise 0.1
}

@test "usage" {
    usage_error add-noise
    usage_error add-noise -- -0.1
    usage_error add-noise 0.1 --seed x
}
