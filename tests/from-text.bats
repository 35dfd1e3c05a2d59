#!/usr/bin/env bats
# shellcheck disable=SC2094,SC2016
load common
load lesson
load refusals

setup_file() { make_big; }

# all_dtypes: text of a tensor for each dtype, a scalar, an empty tensor, odd names, weights
all_dtypes() {
    cat <<'END'
kind weights
model "two words" role=expert fingerprint=0123456789abcdef hub=org/name commit=0123abc
model "\u0001"
step tool 1.0 --x=1 "a b" ""
  fingerprints 0123456789abcdef 00000000000000ff
  blas "OpenBLAS 0.3.21 Haswell"
tensor bool 2
vector "two words" BOOL
00 01
tensor i8 3 layer=1/4
vector "two words" I8 weight=-0.5,0.1,2
joined c weight=1,2,3
-128 0 127
tensor u8 2
vector "two words" U8
0 255
tensor i16 2
vector "two words" I16 l1_before=3 l1=2.5 keep=0.1
-32768 32767
tensor u16 1
vector "two words" U16
65535
tensor i32 1
vector "two words" I32
-2147483648
tensor u32 1
vector "two words" U32
4294967295
tensor i64 2
vector "two words" I64
-9223372036854775808 9223372036854775807
tensor u64 1
vector "two words" U64
18446744073709551615
tensor f16 3
vector "two words" F16 stored=F32
0.1 -6.55e+04 6e-08
tensor bf16 2
vector "two words" BF16
0.1 3.39e+38
tensor f32 4
vector "two words"
0.1 -0 1e-45 3.4028235e+38
vector "\u0001" F64 no-source
0.1 -0 5e-324 1.7976931348623157e+308
tensor scalar scalar
vector "two words" no-source
joined "a b" weight=0.1
extra 1 a178c3
  parent
    joined c
    joined d weight=-2
      parent
        joined e
      end
  end
joined f
0.5
tensor none 0x5
vector "two words"
tensor "odd name # \" é" 1x1x1
vector "two words" source=other
1
END
}

@test "any msgpack library reads the stream" {
    lesson | from-text | /usr/bin/python3 -c '
import msgpack, sys
objects = list(msgpack.Unpacker(sys.stdin.buffer))
assert objects[0] == "TVS1" and objects[2]["kind"] == "task-vectors"
assert objects[5] == __import__("struct").pack("<6f", 1, -2, 0.5, 0, 0.25, 3), objects[5]'
}

@test "the worked example of share/stream.md" {
    cat >text <<END
kind task-vectors
model base role=base
model math
step demo 1
tensor w 2x3
vector math BF16 weight=0.5
1 -2 0.5
0 0.25 3
END
    from-text text >found
    sed -n 's/^    \([0-9a-f]\{4\}\)  \(\( \?[0-9a-f][0-9a-f]\)*\)\(  .*\|$\)/\2/p' "$ROOT/share/stream.md" |
        tr -d ' \n' | /usr/bin/python3 -c 'import sys; sys.stdout.buffer.write(bytes.fromhex(sys.stdin.read()))' >example
    [ "$(wc -c <example)" -eq 356 ]
    tv-view --values <example >text.example
    diff -u text text.example
}

@test "from-text and tv-view --values are inverse, byte for byte" {
    lesson >text
    from-text text | tv-view --values | diff -u text -
    all_dtypes >text
    from-text text >stream
    tv-view --values <stream >again
    from-text again | cmp stream -
    from-text again | tv-view --values | cmp again -
    tv-view --values <"$BIG" | from-text | cmp "$BIG" -
    trim --density 0.2 <"$BIG" | weigh 0.1 '/scale=[0.3,1]' >some.tvs
    tv-view --values <some.tvs | from-text | cmp some.tvs -
}

@test "numbers of every dtype survive the round trip" {
    all_dtypes | from-text | tv-view --values | grep -E '^[-0-9]' | tr -s '\n' >found
    all_dtypes | grep -E '^[-0-9]' | diff -u - found
}

@test "comments, blank lines and extra spaces are ignored; files and pipes give the same stream" {
    lesson >lesson.txt
    sed 's/^/  /; s/$/   # a comment/; s/^/\n/; s/ /\t/' lesson.txt | from-text >stream
    from-text lesson.txt | cmp stream -
}

@test "same bytes with any threads and memory" {
    tv-view --values <"$BIG" >big.txt
    from-text --threads 4 big.txt | cmp "$BIG" -
    from-text --memory 64K big.txt | cmp "$BIG" -
    from-text --memory 64K --spool . <big.txt | cmp "$BIG" -
}

# refused_text LINE SED: the lesson edited by sed is an error of that line
refused_text() {
    lesson | sed "$2" >bad.txt
    if [ "$1" ]; then
        refused_with "line $1: " from-text bad.txt
    else
        refused from-text bad.txt
    fi
}

@test "errors name the line" {
    refused from-text /dev/null
    refused from-text not-there.txt
    refused from-text /
    refused_text 1 's/^kind .*/kind numbers/'
    refused_text 1 1d
    refused_text 4 's/model code/model math/'
    refused_text 5 's/2x3/2x/'
    refused_text 5 's/2x3/3x3x/'
    refused_text 5 's/2x3/99999999999999999999x3/'
    refused_text 5 's/2x3/1000000x1000000/'
    refused_text 6 's/vector math/vector chat/'
    refused_text 6 's/vector math/vector math F31/'
    refused_text 6 's/vector math/& weight=/'
    refused_text 5 's/vector math/& weight=1,2,3,4/'
    refused_text 6 's/vector math/& weight=inf/'
    refused_text 7 's/vector math/&\njoined/'
    refused_text 7 's/vector math/&\njoined x keep=1/'
    refused_text 5 's/vector math/&\njoined x weight=1,2,3,4/'
    refused_text 9 's/vector math/&\njoined x\nparent\nend x/'
    refused_text 9 's/vector math/&\njoined x\nparent\n1 2 3/'
    nested=$(printf 'joined x\\nparent\\n%.0s' {1..13})
    refused_text 32 "s/vector math/&\n${nested%\\n}/"
    refused_text 7 's/^1 -2 0.5$/1 -2/'
    refused_text 7 's/^1 -2 0.5$/1 -2 0.5 3/'
    refused_text 7 's/^1 -2 0.5$/1 -2 x/'
    refused_text 7 's/^1 -2 0.5$/1 -2 1e39/'
    refused_text 7 's/^1 -2 0.5$/1 "-2 0.5/'
    refused_text '' '8d'
    refused_text '' 's/vector code/vector math/'
    refused_text '' '$a more'
    refused_text '' '$a tensor w 1\nvector math\n1'
}

@test "rejects numbers out of the range of their dtype" {
    local dtype number
    while read -r dtype number; do
        printf 'kind weights\nmodel m\ntensor t 1\nvector m %s\n%s\n' "$dtype" "$number" >bad.txt
        refused from-text bad.txt
    done <<END
BOOL 2
I8 128
I8 -129
U8 256
U8 -1
I16 32768
U16 65536
I32 2147483648
U32 4294967296
I64 9223372036854775808
U64 18446744073709551616
U64 -1
F16 70000
I8 1.5
I64 nan
F4 1
END
}

@test "rejects NaN without --allow-nonfinite" {
    lesson | sed 's/^0 0.25 3$/0 nan 3/' >nan.txt
    refused_with "tensor w of math has a non-finite number at flat index 4" from-text nan.txt
    from-text --allow-nonfinite nan.txt | tv-view --allow-nonfinite --values | diff -u nan.txt -
}

@test "rejects bad outputs" {
    lesson >good.txt
    GOOD=good.txt refuses_bad_output from-text
}

@test "usage" {
    usage_error from-text --values
    usage_error from-text a b
}

@test "unknown keys are read, and passed on with the map that contains them" {
    cat >known <<END
kind task-vectors
model base role=base
model math role=expert
step t 1
tensor model.layers.0.w 2x3 layer=0/1
vector math keep=0.5
joined x weight=0.5
1 -2 0.5
0 0.25 3
END
    # The key "c" with the value nil, in each map.
    sed '/^[-0-9]/!s/$/\nextra 1 a163c0/' known | sed '/^vector/{n;s/$/\npayload-extra 1 a163c0/}' >text
    from-text text >x.tvs
    tv-view --values x.tvs | diff -u text -
    for stage in 'weigh 1' 'pick math' 'tv-rename model.*=x.*' 'join-streams -' 'stack -'; do
        # shellcheck disable=SC2086
        $stage <x.tvs >y.tvs
        [ "$(tv-view --values y.tvs | grep -c 'extra 1 a163c0')" = 8 ]
        tv run "$stage" <x.tvs | cmp y.tvs -
    done
    rescale 1 <x.tvs >y.tvs # changes the payload
    [ "$(tv-view --values y.tvs | grep -c 'extra 1 a163c0')" = 7 ]
    combine <x.tvs >y.tvs # another vector
    [ "$(tv-view --values y.tvs | grep -c 'extra 1 a163c0')" = 6 ]
}
