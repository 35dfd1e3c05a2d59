#!/usr/bin/env bats
load common
load lesson
load refusals

setup_file() { make_big; }

@test "a valid stream, a checkpoint" {
    make_good
    [ "$(check <good.tvs)" = \
        "OK: 1 tensor, 2 vectors, 12 elements, 48 bytes of payload (task-vectors)" ]
    check "$BIG"
    check "$MODELS"/math
    check --quiet good.tvs >found
    [ ! -s found ]
}

@test "non-finite numbers are findings" {
    lesson | sed 's/^0 0.25 3$/0 nan inf/' | from-text --allow-nonfinite >nan.tvs
    status=0
    check nan.tvs >found || status=$?
    [ "$status" -eq 1 ]
    diff -u - found <<END
tensor w of math: 2 non-finite numbers, the first at flat index 4
readable but invalid: 1 tensor, 2 vectors, 12 elements, 48 bytes of payload (task-vectors)
END
    check --allow-nonfinite nan.tvs
}

@test "warns if checksums are missing" {
    make_good
    /usr/bin/python3 - "$TESTS/../share/etl" <<'END'
import sys
sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
import tvstream
tvstream._hash = tvstream._NoHash
tvstream.xxh3 = None
reader = tvstream.Reader(open("good.tvs", "rb"))
writer = tvstream.Writer(open("bare.tvs", "wb"))
writer.header(reader.header)
for tensor, blocks in reader.raw():
    writer.tensor(tensor, blocks)
writer.end()
END
    check bare.tvs 2>&1 >found | grep -c '^check: warning: .*checksums'
    check --json bare.tvs 2>err | grep -c '"checksums": false'
    trim --density 1 <bare.tvs | check 2>found
    not grep -q warning found
}

@test "same output from pipes and files, with any threads and memory" {
    always_alike check
}

@test "rejects bad streams" {
    make_good
    refuses_bad_streams check
    refused_with not-there check not-there
    refused check /dev/null
}

@test "names the saved stream that has recorded an error, and what no stream or model is" {
    trim unexpected >failed.tvs 2>/dev/null </dev/null || true
    run -1 check failed.tvs
    [[ $output == "trim: "*" (recorded in failed.tvs)" ]]
    printf 'models:\n - a\n' >config.yml # byte 8 is that of a safetensors file
    refused_with 'config.yml is not a tensor stream' check config.yml
}

@test "rejects bad outputs" {
    make_good
    refuses_bad_output check
}

@test "usage" {
    usage_error check a b
    usage_error check --fast
}
