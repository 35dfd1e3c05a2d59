#!/usr/bin/env bats
load common
load refusals

setup() {
    own_folder
    printf 'kind weights\nmodel m\ntensor a.weight 2x3\nvector m\n1 2 3\n4 5 6\ntensor b.bias 2\nvector m\n1 1\n' >m.txt
    printf 'tensor b.weight 2x1\nvector m\n1\n2\ntensor c 2x2\nvector m\n1 2\n3 4\n' >>m.txt
    from-text m.txt >m.tvs
}

@test "a bias of zeros for each matrix that matches" {
    zero-bias m.tvs 'a*' 'c' | tv-view --values | sed -n '/^tensor/,$p' >found
    diff -u - found <<END
tensor a.bias 2
vector m.tvs no-source stored=F32
0 0
END
    stack --disjoint m.tvs <(zero-bias m.tvs a) | pack m.safetensors
    tv-view m.safetensors | grep -c bias >found
    [ "$(<found)" = 2 ]
}

@test "a matrix that has a bias, and globs that match nothing" {
    refused_with "m.tvs has a tensor b.bias" zero-bias m.tvs '*'
    refused_with "no matrix of m.tvs matches" zero-bias m.tvs x
    refused_with "nowhere" zero-bias nowhere x
}

@test "rejects bad outputs" {
    GOOD=m.tvs refuses_bad_output zero-bias m.tvs a
}

@test "usage" {
    usage_error zero-bias m.tvs
}
