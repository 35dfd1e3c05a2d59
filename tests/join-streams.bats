#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

@test "joins vectors and histories" {
    make_good
    pick code <good.tvs | weigh 3 >code.tvs
    join-streams <(pick math <good.tvs | trim --density 0.5) code.tvs | tv-view --values | sed 's/^ *//' >found
    diff -u - found <<END
kind task-vectors
model base role=base
model math role=expert
model code role=expert
step join-streams 0.1.0
parent
step pick 0.1.0 math
step trim 0.1.0 --density=0.5
end
parent
step pick 0.1.0 code
step weigh 0.1.0 3
end
tensor w 2x3
vector math l1_before=6.75
1 -2 0
0 0 3
vector code weight=3
-1 4 0.5
2 0 -3
END
}

@test "joins the outputs of pick to the original stream" {
    digests <"$BIG" >whole
    join-streams <(pick math <"$BIG") <(pick code <"$BIG") | digests | cmp - whole
    pick code <"$BIG" | join-streams <(pick math <"$BIG") - | digests | cmp - whole
    join-streams "$BIG" | digests | cmp - whole
}

@test "same bytes from pipes and files, with any threads and memory" {
    pick math <"$BIG" >math.tvs
    pick code <"$BIG" >code.tvs
    join-streams math.tvs code.tvs >once
    join-streams math.tvs code.tvs | cmp - once
    join-streams --threads 4 --memory 64K math.tvs code.tvs | cmp - once
    join-streams <(cat math.tvs) - <code.tvs | cmp - once
    # shellcheck disable=SC2002
    cat math.tvs | join-streams - <(cat code.tvs) | cmp - once
}

@test "its inputs are read again if a later stage needs several rounds" {
    pick math <"$BIG" >math.tvs
    pick code <"$BIG" >code.tvs
    join-streams math.tvs code.tvs | trim --density 0.2 --scope model | tensors >found
    tv run 'join-streams math.tvs code.tvs | trim --density 0.2 --scope model' | tensors | cmp - found
    tv run 'join-streams <(cat math.tvs) <(cat code.tvs) | trim --density 0.2 --scope model' |
        tensors | cmp - found
}

@test "rejects bad streams in any position" {
    make_good
    lesson | sed 's/math/third/; s/code/fourth/' | from-text >other.tvs
    refuses_bad_streams join-streams -
    refuses_bad_streams join-streams other.tvs -
    refuses_bad_streams join-streams - other.tvs
    refused_with not-there join-streams good.tvs not-there
    refused join-streams /
}

@test "rejects bad outputs" {
    make_good
    refuses_bad_output join-streams -
}

@test "rejects other tensors, shapes, orders and kinds, and duplicate models, before any payload" {
    make_good
    head -c 300 good.tvs >cut.tvs # complete header, truncated payload
    other() { sed "$1" | from-text >other.tvs; }
    lesson | other 's/math/third/; s/code/fourth/; s/^tensor w/tensor v/'
    refused_with "tensor 1 of other.tvs is v, but w in the first stream" join-streams cut.tvs other.tvs
    printf 'kind task-vectors\nmodel x\ntensor w 3x2\nvector x\n1 2\n3 4\n5 6\n' | from-text >other.tvs
    refused_with "tensor w of other.tvs has another shape" join-streams cut.tvs other.tvs
    printf 'tensor x 1\nvector math\n1\n' | cat <(lesson) - | other 's/math/third/; s/code/fourth/'
    refused_with "other.tvs has 2 tensors, but the first stream has 1" join-streams cut.tvs other.tvs
    weights | other 's/math/third/; s/code/fourth/'
    refused_with "contains weights" join-streams cut.tvs other.tvs
    refused_with math join-streams cut.tvs good.tvs
    lesson | other 's/math/third/; s/code/fourth/; s/^model base.*/& fingerprint=0123456789abcdef/'
    refused_with "base base of other.tvs has a different fingerprint" join-streams cut.tvs other.tvs
    lesson | other 's/math/third/; s/code/fourth/; s/^kind.*/&\nrounding BF16/'
    refused_with "rounded to a different dtype" join-streams cut.tvs other.tvs
}

@test "usage" {
    usage_error join-streams
    usage_error join-streams --name x good.tvs
}
