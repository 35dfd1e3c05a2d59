#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

@test "sets weights and does not change the payload" {
    lesson | from-text | weigh 0.5 code=-2 | tensors >found
    diff -u - found <<END
tensor w 2x3
vector math weight=0.5
1 -2 0.5
0 0.25 3
vector code weight=-2
-1 4 0.5
2 0 -3
END
}

@test "replaces earlier weights, keeps them where no rule matches, multiplies with --multiply" {
    lesson | from-text | weigh 0.5 | weigh math=3 | tensors | grep vector >found
    diff -u - found <<END
vector math weight=3
vector code weight=0.5
END
    lesson | from-text | weigh 0.5 | weigh --multiply math=3 code=4 | tensors | grep vector >found
    diff -u - found <<END
vector math weight=1.5
vector code weight=2
END
}

@test "rules: globs, layer gradients, a file; the last match wins" {
    printf '# a comment\n/*norm*=0\ncode=[0.2,0.8]\n' >rules
    weigh 0.5 @rules '/none=7' <"$BIG" | digests | awk '/^tensor/ { t = $2 } /^vector/ { print t, $2, $NF }' >found
    diff -u - found <<END
model.embed_tokens.weight math weight=0.5
model.embed_tokens.weight code weight=0.2
model.layers.0.mlp.weight math weight=0.5
model.layers.0.mlp.weight code weight=0.2
model.layers.0.norm.weight math weight=0
model.layers.0.norm.weight code weight=0.2
model.layers.1.mlp.weight math weight=0.5
model.layers.1.mlp.weight code weight=0.8
model.layers.1.norm.weight math weight=0
model.layers.1.norm.weight code weight=0.8
none math weight=7
none code weight=7
scale math weight=0.5
scale code weight=0.2
END
}

@test "a table gives weights per chunk; rules take precedence" {
    printf 'tensor\tmodel\tchunk\tvalue\nw\tmath\t0\t0.5\nw\tmath\t1\t2\nw\tcode\t0\t3\n' >table
    lesson | from-text | weigh --table table | tensors | grep vector >found
    diff -u - found <<END
vector math weight=0.5,2
vector code weight=3
END
    lesson | from-text | weigh --table table | weigh --multiply --table table | tensors |
        grep vector >found
    diff -u - found <<END
vector math weight=0.25,4
vector code weight=9
END
    printf 'w\tmath\t%d\t1\n' 0 1 2 >three
    lesson | from-text | weigh --table table >two.tvs
    refused_with "tensor w has 2 weights, which cannot be multiplied by 3" \
        weigh --multiply --table three <two.tvs
    lesson | from-text | weigh --table table math=1 | weigh --multiply --table table | tensors |
        grep vector >found
    diff -u - found <<END
vector math weight=0.5,2
vector code weight=9
END
}

@test "the history identifies the table by its contents, not its name" {
    printf 'w\tmath\t0\t0.5\n' | tee table >other
    lesson | from-text | weigh --table table >a
    lesson | from-text | weigh --table other | cmp a -
    printf 'w\tmath\t0\t0.25\n' >other
    lesson | from-text | weigh --table other 1 | weigh --table table >b
    not cmp -s a b
}

@test "weight 1 changes nothing" {
    leaves_alone weigh 1
}

@test "the same bytes from a file or a pipe, with threads, in little memory" {
    always_alike weigh 0.5 'code=[0.1,0.7]'
}

@test "refuses broken streams" {
    make_good
    refuses_bad_streams weigh 0.5
}

@test "refuses a full disk and a closed output" {
    make_good
    refuses_bad_output weigh 0.5
}

@test "refuses tables that do not match the stream" {
    make_good
    printf 'w\tchat\t0\t1\n' >table
    refused_with 'does not have' weigh --table table <good.tvs
    printf 'v\tmath\t0\t1\n' >table
    refused_with 'does not have' weigh --table table <good.tvs
    printf 'w\tmath\t1\t1\n' >table
    refused weigh --table table <good.tvs
    printf 'w\tmath\t0\tmuch\n' >table
    refused weigh --table table <good.tvs
    printf 'w\tmath\t0\tnan\n' >table
    refused weigh --table table <good.tvs
    printf 'w\tmath\t%s\t1\n' 0 1 2 3 >table # 4 chunks of 2 leave the last of 6 elements empty
    refused weigh --table table <good.tvs
    refused_with "not-there" weigh --table not-there <good.tvs
    refused_with "no model of that name" weigh chat=1 <good.tvs
}

@test "the history holds the rules of a file, not its name" {
    printf '# a comment\ncode=2\n/w=3\n' >rules
    lesson | from-text | weigh 0.5 @rules | tv-view --values | grep -x 'step weigh [0-9.]* 0.5 code=2 /w=3'
}

@test "usage errors" {
    make_good
    usage_error weigh --no-such-option 1
    usage_error_with "expected a RULE or --table" weigh
    usage_error weigh 0.5x
    usage_error weigh math=nan
    usage_error weigh '[0.1,'
    usage_error weigh @not-there
    refused weigh <good.tvs
}

@test "integer tensors pass through without weights" {
    printf 'kind weights\nmodel a\ntensor i 2\nvector a I64\n1 2\ntensor w 1\nvector a F32\n1\n' | from-text |
        weigh 0.5 | tv-view --values >found
    grep -qx 'vector a weight=0.5' found
    [ "$(grep -c weight= found)" = 1 ]
}
