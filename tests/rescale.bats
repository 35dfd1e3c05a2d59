#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

@test "multiplies each vector by its factor" {
    lesson | from-text | rescale 0.5 code=-2 | tensors >found
    diff -u - found <<END
tensor w 2x3
vector math
0.5 -1 0.25
0 0.125 1.5
vector code
2 -8 -1
-4 -0 6
END
}

@test "a negative number is a factor, not an option" {
    lesson | from-text | rescale -1 | tensors >found
    diff -u - found <<END
tensor w 2x3
vector math
-1 2 -0.5
-0 -0.25 -3
vector code
1 -4 -0.5
-2 -0 3
END
}

# math keeps 1 -2 0 0 0 3, code 0 4 0 2 0 -3: norms 6 of 6.75 and 9 of 10.5.
@test "--by l1 restores the norm and removes the attribute" {
    lesson | from-text | trim --density 0.5 | rescale --by l1 | tensors >found
    diff -u - found <<END
tensor w 2x3
vector math
1.125 -2.25 0
0 0 3.375
vector code
0 4.6666665 0
2.3333333 0 -3.5
END
}

@test "--by l1 in one process, after the drop and after another change of the payload" {
    local drop="dare-drop --density 0.5 --seed 1 --l1"
    $drop <"$BIG" | rescale --by l1 | digests >piped
    tv run "$drop | rescale --by l1" <"$BIG" | digests | cmp - piped
    $drop <"$BIG" | rescale 0.5 | rescale --by l1 | digests >piped
    tv run "$drop | rescale 0.5 | rescale --by l1" <"$BIG" | digests | cmp - piped
}

@test "--by l1 uses a recorded norm of the payload, which lasts until the payload changes" {
    lesson | sed 's/^vector math/& l1_before=9 l1=4.5/; s/^vector code/& l1_before=3 l1=6/' | from-text >norms
    rescale --by l1 <norms | tensors >found
    diff -u - found <<END
tensor w 2x3
vector math
2 -4 1
0 0.5 6
vector code
-0.5 2 0.25
1 0 -1.5
END
    rescale --by l1 <norms | tensors >found
    weigh 1 <norms | rescale --by l1 | tensors | cmp - found
    rescale 2 <norms | tensors | grep vector >found
    printf 'vector math l1_before=18\nvector code l1_before=6\n' | diff -u - found
    add-noise 0.1 <norms | tensors | grep vector >found
    printf 'vector math l1_before=9\nvector code l1_before=3\n' | diff -u - found
}

@test "--by l1 holds no tensor whose norms dare-drop or della-drop have recorded" {
    local streams="rescale --by l1 --memory 1 --spool missing" # a tensor that is held does not fit
    dare-drop --density 0.5 --seed 1 --l1 <"$BIG" | $streams >/dev/null
    della-drop --density 0.5 --seed 1 <"$BIG" | weigh 0.5 | $streams >/dev/null
    trim --density 0.5 <"$BIG" >trimmed
    run -1 $streams <trimmed
    [[ $output == *missing* ]]
}

@test "--by keep divides by the probability and removes the attribute" {
    lesson | sed 's/^vector math/& keep=0.5/; s/^vector code/& keep=0.25 l1_before=3/' | from-text |
        rescale --by keep | tensors >found
    diff -u - found <<END
tensor w 2x3
vector math
2 -4 1
0 0.5 6
vector code l1_before=12
-4 16 2
8 0 -12
END
}

@test "a factor multiplies the recorded norm" {
    lesson | from-text | trim --density 0.5 | rescale -2 | tensors | grep vector >found
    diff -u - found <<END
vector math l1_before=13.5
vector code l1_before=21
END
}

@test "factors of 2 and 0.5 cancel; a factor of 1 changes nothing" {
    leaves_alone rescale 1
    rescale 2 <"$BIG" >twice.tvs
    rescale 0.5 <twice.tvs | digests >after
    digests <"$BIG" | cmp - after
}

@test "weights are scaled too, integer tensors pass through" {
    printf 'kind weights\nmodel a\ntensor i 2\nvector a I64\n1 2\ntensor x 2\nvector a BF16\n1 2\n' |
        from-text | rescale 3 | tensors >found
    diff -u - found <<END
tensor i 2
vector a I64
1 2
tensor x 2
vector a BF16
3 6
END
}

@test "the same bytes from a file or a pipe, with threads, in little memory" {
    always_alike rescale 0.3
    trim --density 0.2 <"$BIG" >trimmed.tvs
    BIG=trimmed.tvs always_alike rescale --by l1
}

@test "refuses broken streams" {
    make_good
    refuses_bad_streams rescale 0.5
    refuses_nonfinite rescale 0.5
    trim --density 0.5 <good.tvs >trimmed.tvs
    GOOD=trimmed.tvs refuses_bad_streams rescale --by l1
}

@test "refuses a full disk and a closed output" {
    make_good
    refuses_bad_output rescale 0.5
}

@test "refuses --by without the recorded attribute" {
    make_good
    refused_with "tensor w of math: no earlier stage recorded its L1 norm" rescale --by l1 <good.tvs
    refused_with "tensor w of math: no earlier stage recorded the probability of keeping" rescale --by keep <good.tvs
    trim --density 0.5 <good.tvs | rescale --by l1 >once.tvs
    refused rescale --by l1 <once.tvs
    refused_with "flat index" rescale 3e38 <good.tvs
}

@test "usage errors" {
    make_good
    usage_error rescale --by l2
    usage_error_with "expected either a FACTOR or --by" rescale
    usage_error_with "expected either a FACTOR or --by" rescale --by l1 2
    refused rescale <good.tvs
    refused rescale 0.5 --by l1 <good.tvs
    usage_error rescale half
    usage_error rescale inf
}

@test "a negative factor keeps its place among the rules" {
    lesson | from-text | rescale -1 /w=0.5 | tv-view --values | grep -v '^step' >found
    lesson | from-text | rescale 0.5 | tv-view --values | grep -v '^step' | diff - found
    lesson | from-text | rescale -1 | rescale -1 | tv-view --values | grep -v '^step' >found
    lesson | from-text | tv-view --values | diff - found
}
