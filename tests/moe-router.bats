#!/usr/bin/env bats
load common
load lesson
load refusals

# states NUMBER...: hidden states of samples with two tokens; each of 2 layers is entered with the numbers
# x y (first token) and z u (last token) of a sample, in the second layer doubled
states() {
    local i=0 d
    printf 'kind activations\nmodel base\n'
    while [ $# -gt 0 ]; do
        for l in 0 1 2; do
            d=$((l == 1 ? 2 : 1))
            printf 'tensor sample%s.hidden.%s 2x2\nvector base\n%s %s\n%s %s\n' $i $l $(($1 * d)) $(($2 * d)) $(($3 * d)) $(($4 * d))
        done
        shift 4
        ((++i))
    done
}

rows() { moe-router "$@" 2>>err | tv-view --values | sed -n '/^tensor/,$p' | grep -v '^vector'; }

setup() {
    own_folder
    states 1 0 3 4 5 5 3 4 | from-text >a.tvs
    states 0 2 0 1 | from-text >b.tvs
    states 8 8 6 -3 | from-text >c.tvs
}

@test "hidden: the mean of the last states, normalized" {
    rows a.tvs b.tvs >found
    diff -u - found <<END
tensor model.layers.0.mlp.gate.weight 2x2 layer=0/2
0.6 0.8
0 1
tensor model.layers.1.mlp.gate.weight 2x2 layer=1/2
0.6 0.8
0 1
END
}

@test "hidden_avg: the mean over a prompt's tokens, then over the prompts" {
    rows --gate-mode hidden_avg a.tvs b.tvs | sed -n 2,3p >found # (2 2 + 4 4.5) / 2 = 3 3.25
    awk 'NR == 1 { exit ($1 - 3 / sqrt(9 + 3.25^2))^2 > 1e-12 } NR == 2 && $0 != "0 1" { exit 1 }' found
}

@test "cheap_embed: the sum of the embeddings; positive and negative are normalized before the difference" {
    rows --gate-mode cheap_embed --layers 1 --negative 1 a.tvs c.tvs b.tvs >found
    # a: 12 13; c: 14 5 / |14 5|, b: 0 1
    awk 'function close_to(x, y) { return (x - y)^2 < 1e-12 }
         NR == 2 { exit !close_to($1, 12 / sqrt(313)) || !close_to($2, 13 / sqrt(313)) }' found
    awk 'function close_to(x, y) { return (x - y)^2 < 1e-12 }
         NR == 3 { n = sqrt(221); x = 14 / n; y = 5 / n - 1; m = sqrt(x^2 + y^2)
                   exit !close_to($1, x / m) || !close_to($2, y / m) }' found
}

@test "negative prompts are subtracted" {
    rows --negative 0 a.tvs b.tvs c.tvs | sed -n 2,3p >found # 3 4 - 6 -3 = -3 7
    awk 'NR == 1 { exit ($1 + 3 / sqrt(58))^2 > 1e-12 || ($2 - 7 / sqrt(58))^2 > 1e-12 }
         NR == 2 && $0 != "0 1" { exit 1 }' found
    rows --gate-mode hidden_avg --negative 0 a.tvs b.tvs c.tvs | sed -n 2p >found # 3 3.25 - 7 2.5 = -4 0.75
    awk '{ n = sqrt(16 + 0.75^2); exit ($1 + 4 / n)^2 > 1e-12 || ($2 - 0.75 / n)^2 > 1e-12 }' found
}

@test "experts that are hardly distinguished get a warning" {
    states 1 0 3 4.01 2>/dev/null | from-text >near.tvs || sed 's/^3 4$/3 4.01/; s/^6 8$/6 8.02/' <(states 1 0 3 4) | from-text >near.tvs
    moe-router a.tvs near.tvs 2>err >out.tvs
    grep -c "warning: the router of layer . hardly distinguishes its experts" err >found
    [ "$(<found)" = 2 ]
    moe-router a.tvs b.tvs 2>err >out.tvs
    [ ! -s err ]
}

@test "the same bytes from files and pipes" {
    moe-router a.tvs b.tvs >once
    moe-router <(cat a.tvs) - <b.tvs | cmp - once
    tv run 'moe-router <(cat a.tvs) b.tvs' | cmp - once
}

@test "rejects other streams" {
    GOOD=a.tvs refuses_bad_output moe-router -
    GOOD=a.tvs refuses_bad_streams moe-router -
    make_good
    refused_with "expected hidden states" moe-router good.tvs
    from-text <(states 1 2 3 4 | sed '/hidden.1/,+3d') >some.tvs
    refused_with "some.tvs does not have the hidden states of all its samples" moe-router a.tvs some.tvs
    from-text <(states 1 2 3 4 | sed '/hidden.2/,+3d') >short.tvs
    refused_with "short.tvs has another number of layers" moe-router a.tvs short.tvs
    from-text <(states 1 2 3 4 | sed '/hidden.[12]/,+3d') >embedding.tvs
    refused_with "embedding.tvs has embeddings only" moe-router embedding.tvs
    from-text <(printf 'kind activations\nmodel base\n'; printf 'tensor sample0.hidden.%s 1x3\nvector base\n1 2 3\n' 0 1 2) >wide.tvs
    refused_with "is not a hidden state like the others" moe-router a.tvs wide.tvs
}

@test "usage" {
    usage_error moe-router
    usage_error moe-router --negative 1 a.tvs
    usage_error moe-router --negative 0,0, a.tvs b.tvs c.tvs
    usage_error moe-router --gate-mode cheap_embed a.tvs
    usage_error moe-router --layers 3 a.tvs
    usage_error moe-router --gate-mode random --layers 2
    usage_error moe-router --gate-mode random --layers 2 --experts 2 --hidden-size 4 a.tvs
    usage_error moe-router --seed 1 a.tvs
    refused_with "different numbers from 0 to 1" moe-router --negative 0,0 a.tvs b.tvs c.tvs a.tvs
    refused_with "different numbers from 0 to 0" moe-router --negative 1,0 a.tvs b.tvs c.tvs
}
