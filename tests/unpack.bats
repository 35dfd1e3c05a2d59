#!/usr/bin/env bats
# shellcheck disable=SC2154 # run sets stderr
load common
load lesson
load refusals

setup_file() { make_big; }

# save TEXT FILE: the weights of a text as a .safetensors file
save() {
    from-text "$1" | pack "$2"
}

setup() {
    own_folder
    printf 'kind weights\nmodel m\ntensor b 2x3\nvector m BF16\n1 -2 0.5\n0 0.25 3\n' >m.txt
    printf 'tensor a scalar\nvector m I64\n-7\n' >>m.txt
    save m.txt m.safetensors
}

@test "the weights as they are stored, sorted by name" {
    unpack m.safetensors | tensors >found
    diff -u - found <<END
tensor a scalar
vector m I64 stored=I64
-7
tensor b 2x3
vector m BF16 stored=BF16
1 -2 0.5
0 0.25 3
END
}

@test "several models side by side, each under its name" {
    sed 's/^1 -2/5 6/; s/BF16/F32/' m.txt >n.txt
    save n.txt n.safetensors
    unpack m.safetensors other=n.safetensors | tv-view --values | grep -v ' fingerprint=.* ' |
        sed '/^hash/d; /^ *fingerprints/d; s/ fingerprint=.*//' >found
    diff -u - found <<END
kind weights
model m
model other
step unpack 0.1.0 m other
tensor a scalar
vector m I64 stored=I64
-7
vector other I64 stored=I64
-7
tensor b 2x3
vector m BF16 stored=BF16
1 -2 0.5
0 0.25 3
vector other stored=F32
5 6 0.5
0 0.25 3
END
}

@test "--dtype rounds floating-point tensors" {
    printf 'kind weights\nmodel m\ntensor b 3\nvector m\n1 1.001 -3.14159\n' >m.txt
    rm m.safetensors
    save m.txt m.safetensors
    unpack --dtype bfloat16 m.safetensors | tensors >found
    printf 'tensor b 3\nvector m BF16 stored=F32\n1 1 -3.14\n' | diff -u - found
}

@test "unpack | pack gives the same file" {
    unpack "$MODELS"/math | pack math.safetensors
    tv-diff --same-dtype math.safetensors "$MODELS"/math
    unpack math.safetensors | digests >back
    unpack "$MODELS"/math | digests | diff - back
}

# shift_data MODEL SHIFTED: the same file with a header that is one byte longer
shift_data() {
    /usr/bin/python3 - "$1" "$2" <<'END'
import sys
data = open(sys.argv[1], "rb").read()
n = int.from_bytes(data[:8], "little")
open(sys.argv[2], "wb").write((n + 1).to_bytes(8, "little") + data[8:8 + n] + b" " + data[8 + n:])
END
}

@test "in one process filters change copies of mapped numbers, of any dtype and alignment" {
    local dtype model
    for dtype in F32 F64 F16 BF16; do
        rm -f ./*.safetensors
        sed "s/BF16/$dtype/" m.txt >m2.txt
        sed "s/BF16/$dtype/; s/model m/model n/; s/vector m/vector n/; s/^1 -2/5 6/" m.txt >n.txt
        save m2.txt m.safetensors
        save n.txt n.safetensors
        shift_data n.safetensors shifted.safetensors
        unpack m.safetensors n.safetensors | combine --normalize=all | pack expected.safetensors
        unpack expected.safetensors | tensors | grep -qx '3 2 0.5'
        for model in n shifted; do
            sha256sum m.safetensors $model.safetensors >before
            tv run "unpack m.safetensors n=$model.safetensors | combine --normalize=all | pack both.safetensors"
            tv-diff --same-dtype both.safetensors expected.safetensors
            tv run "unpack $model.safetensors | pack copy.safetensors"
            tv-diff --same-dtype copy.safetensors n.safetensors
            sha256sum --check --quiet before
            rm both.safetensors copy.safetensors
        done
    done
}

@test "a mapped file that is truncated is an error" {
    local size=4000000 header='{"w":{"dtype":"BF16","shape":[2000000],"data_offsets":[0,4000000]}}      '
    {
        printf "\\x$(printf %x ${#header})\0\0\0\0\0\0\0%s" "$header"
        head -c $size /dev/zero
    } >long.safetensors
    unpack long.safetensors | check --quiet
    unpack long.safetensors 2>errors | {
        head -c 1 >/dev/null
        truncate -s 5000 long.safetensors
        cat >/dev/null
    } || true
    grep -q 'a file was truncated while it was being read$' errors
    [ "$(wc -l <errors)" = 1 ]
}

@test "a saved stream is a model too" {
    unpack "$MODELS"/math >math.tvs
    unpack math=math.tvs | tensors >back
    tensors <math.tvs | cmp - back
}

@test "same bytes with any number of threads and from any folder" {
    unpack "$MODELS"/math "$MODELS"/code >once
    unpack "$MODELS"/math "$MODELS"/code | cmp once -
    unpack --threads 4 --memory 64K "$MODELS"/math "$MODELS"/code | cmp once -
    cp -r "$MODELS" elsewhere
    unpack elsewhere/math elsewhere/code | cmp once -
}

@test "refuses a bad stream as a model" {
    unpack m.safetensors >good.tvs
    refuses_bad_operands unpack
}

refuses_bad_operands() {
    local file
    /usr/bin/python3 "$TESTS/bad_streams.py" good.tvs .bad
    for file in .bad/*; do
        case $file in */foreign-text | */cut-0) continue ;; esac
        refused "$@" "$file" || wrong "of ${file#.bad/}"
    done
}

@test "refuses bad outputs" {
    GOOD=/dev/null refuses_bad_output unpack m.safetensors
}

@test "refuses NaN, by tensor and index" {
    sed 's/0.25/nan/' m.txt | from-text --allow-nonfinite |
        pack --allow-nonfinite nan.safetensors
    refused_with "tensor b of nan has a non-finite number at flat index 4" unpack nan.safetensors
    unpack --allow-nonfinite nan.safetensors | check --allow-nonfinite
}

@test "refuses missing files, other shapes and names, and two models of one name" {
    printf 'kind weights\nmodel n\ntensor b 3x2\nvector n\n1 2\n3 4\n5 6\ntensor a scalar\nvector n I64\n1\n' >n.txt
    save n.txt n.safetensors
    refused_with "tensor b is (3, 2) in n but (2, 3) in m" unpack m.safetensors n.safetensors
    printf 'kind weights\nmodel o\ntensor a scalar\nvector o I64\n1\n' >o.txt
    save o.txt o.safetensors
    refused_with "b" unpack m.safetensors o.safetensors
    refused_with "m" unpack m.safetensors m.safetensors
    refused_with "not-there" unpack not-there
    mkdir empty
    refused_with "empty" unpack empty
    unpack --mismatch drop m.safetensors n.safetensors | tensors | grep vector >found
    diff -u - found <<END
vector m I64 stored=I64
vector n I64 stored=I64
vector m BF16 stored=BF16
END
}

@test "usage" {
    usage_error unpack
    usage_error unpack --dtype int8 m
    usage_error unpack --missing never m
}

# values: a stream's tensors and values, without what a pipe does not have
values() {
    /usr/bin/python3 "$TESTS/digests.py" | sed '/^step/d'
}

@test "a model on standard input: safetensors as it arrives, everything else by way of a file" {
    local from=$MODELS/math/model.safetensors
    unpack m="$from" | pack - --format safetensors >sorted
    unpack m="$from" | values >expected
    for c in cat zstd gzip xz; do
        $c <sorted | unpack m=- 2>said | values | cmp - expected
        [ ! -s said ]
    done
    tar c -C "$MODELS" math | unpack m=- 2>said | values | cmp - expected
    grep -c 'unpacked standard input to temporary files' said
    tar cJ -C "$MODELS" math | unpack m=- 2>said | values | cmp - expected
    (cd "$MODELS" && /usr/bin/python3 -m zipfile -c "$T/m.zip" math/)
    unpack m=- <m.zip 2>said | values | cmp - expected
    unpack "$from" | unpack m=- | values | cmp - expected
    unpack "$from" | zstd | unpack m=- | values | cmp - expected
    zstd -q "$from" -o m.safetensors.zst
    unpack m.safetensors.zst 2>said | values | sed 's/^model.*/model m/' | cmp - expected
    grep -c 'decompressed m.safetensors.zst to a temporary file' said
}

@test "the base or an expert on standard input; what is read twice is copied, which is said" {
    local from=$MODELS/math/model.safetensors
    printf 'kind weights\nmodel m\ntensor b 2x3\nvector m BF16\n1 -2 0.5\n0 0.25 3\n' |
        from-text | pack - --format safetensors >base
    unpack b=base | tv-view --values | sed 's/0.25/0.5/' | from-text | pack - --format safetensors >math
    tv-extract b=base m=math | values >expected
    tv-extract b=base m=- <math 2>said | values | cmp - expected
    tv-extract b=- m=math <base 2>>said | values | cmp - expected
    [ ! -s said ]
    tv-extract b="$MODELS"/base m="$from" | values >integers
    tv-extract b="$MODELS"/base m=- <"$from" 2>said | values | cmp - integers
    grep -c 'note: copied standard input to a temporary file, because tensors of integers are compared first' said
    tv-extract b=base m=math | trim --density 0.5 --scope model | values >expected
    tv run "tv-extract b=base m=- | trim --density 0.5 --scope model" <math 2>said |
        values | cmp - expected
    grep -c 'note: copied standard input to a temporary file, because it is read several times' said
    printf 'kind weights\nmodel m\ntensor b 2\nvector m\n1 2\ntensor a 2\nvector m\n3 4\n' |
        from-text | pack - --format safetensors >m.safetensors
    unpack m=- <m.safetensors 2>said | tensors | diff -u - <(unpack m.safetensors | tensors)
    grep -c 'because its tensors are not in the order of the stream' said
}

@test "a model on standard input that is truncated, has more bytes or is none is refused" {
    unpack "$MODELS"/math | pack - --format safetensors >m
    refused() { # refused SENTENCE: of unpack -
        if unpack - 2>said | tv-view >/dev/null 2>&1; then return 1; fi
        diff -u said - <<<"unpack: $1"
    }
    local expected="expected a safetensors, GGUF, .npz or torch.save file, an archive of a folder, \
or a stream of weights"
    refused "standard input is not a model; $expected" < <(head -c 5 m)
    refused "standard input is empty; $expected" </dev/null
    refused "standard input: bytes after its data belong to no tensor" < <(cat m && echo)
    zstd -q m
    head -c 300 m.zst >short
    refused "cannot decompress standard input: Truncated zstd input" <short
    printf '\377\377\377\377\377\377\0\0{' >huge
    refused "standard input: the header length is 281474976710655 bytes; the maximum is 100000000" <huge
    for n in 9 100 20000; do
        if head -c $n m | unpack - 2>said | tv-view >/dev/null 2>&1; then return 1; fi
        [ "$(wc -l <said)" = 1 ]
    done
    run -2 --separate-stderr unpack - a=- </dev/null
    [ "$stderr" = "unpack: standard input is one model, but 2 operands name it" ]
}

@test "input in another format is refused by its first bytes, before anything is copied" {
    local zeros="a file that starts with zeros only, like an incomplete download; download it again"
    timeout 20 unpack - </dev/zero 2>said >/dev/null || [ $? = 1 ]
    diff -u said - <<<"unpack: standard input is $zeros"
    printf 'version https://git-lfs.github.com/spec/v1\n' >pointer
    printf '\211HDF\r\n\032\n' >hdf5
    head -c 1000 /dev/zero >zeros
    for f in pointer hdf5 zeros; do
        gzip -k $f
        for c in cat "gzip -c"; do
            run -1 --separate-stderr unpack --spool /nonexistent - < <($c $f)
            [[ $stderr = "unpack: standard input is a"* ]]
        done
        run -1 --separate-stderr unpack --spool /nonexistent $f.gz
        [[ $stderr = "unpack: $f.gz is a"* ]]
    done
}

@test "streams compressed with zstd, gzip or xz are read by content" {
    unpack "$MODELS"/math >s.tv
    stats <s.tv >expected
    for c in zstd gzip xz; do
        $c -c s.tv >s.$c
        stats <s.$c | cmp - expected
        $c -c s.tv | stats | cmp - expected
        unpack math=s.$c | tensors | cmp - <(tensors <s.tv)
        tv-extract "$MODELS"/base s.$c | $c -c | trim --density 0.5 --scope model >/dev/null
    done
    head -c 2000 s.zstd >short
    run -1 --separate-stderr stats <short
    [ "$stderr" = "stats: cannot decompress standard input: Truncated zstd input" ]
}
