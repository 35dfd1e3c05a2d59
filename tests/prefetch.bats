#!/usr/bin/env bats
# A filter that needs whole tensors prefetches the next one while one is written. The output does
# not change.
load common
load lesson
load refusals

# stream N [ROWS]: N tensors of several blocks, those with odd numbers of one row
stream() {
    awk -v n="$1" 'BEGIN {
        print "kind task-vectors"; print "model base role=base"; print "model math role=expert"
        for (i = 0; i < n; i++) {
            rows = i % 2 ? 1 : 9
            printf "tensor t%d %dx20000\nvector math\n", i, rows
            for (j = 0; j < rows * 20000; j++)
                printf "%d%s", (j * 7919 + i) % 1009 - 504, (j + 1) % 20000 ? " " : "\n"
        }
    }' | from-text
}

setup_file() {
    stream 5 >"$BATS_FILE_TMPDIR/five.tvs"
}

setup() {
    own_folder
    FIVE=$BATS_FILE_TMPDIR/five.tvs
}

@test "the same bytes from a file, a slow pipe, without memory, on several threads" {
    trim --density 0.3 <"$FIVE" >want
    # shellcheck disable=SC2002
    cat "$FIVE" | trim --density 0.3 | cmp want -
    dd if="$FIVE" bs=1000 status=none | trim --density 0.3 | cmp want -
    trim --density 0.3 --memory 100K <"$FIVE" | cmp want -
    trim --density 0.3 --memory 100 <"$FIVE" | cmp want -
    trim --density 0.3 --threads 3 <"$FIVE" | cmp want -
    tv run 'trim --density 0.3' <"$FIVE" | cmp want -
}

@test "tensors that are buffered, passed through and dropped in turn" {
    for which in t0 t1 t4 't[02]' 't[13]' 't[!3]'; do
        trim --density 0.3 --include "$which" <"$FIVE" >some.tvs
        pick --drop "/$which" <some.tvs | tensors >left
        pick --drop "/$which" <"$FIVE" | tensors | cmp left -
        trim --density 0.3 <"$FIVE" | pick "/$which" | tensors >trimmed
        pick "/$which" <some.tvs | tensors | cmp trimmed -
        tv run "trim --density 0.3 | pick '/$which'" <"$FIVE" | tensors | cmp trimmed -
    done
}

@test "a stage that reads the stream twice, after one that buffers tensors" {
    trim --density 0.5 <"$FIVE" | trim --density 0.3 --scope model >want
    tv run 'trim --density 0.5 | trim --density 0.3 --scope model' <"$FIVE" | cmp want -
    # shellcheck disable=SC2002
    cat "$FIVE" | tv run 'trim --density 0.5 | trim --density 0.3 --scope model' | cmp want -
}

@test "a stream that is truncated in a prefetched tensor" {
    local size
    size=$(stat -c %s "$FIVE")
    for part in 30 42 45 65 85 99; do
        head -c $((size * part / 100)) "$FIVE" >cut.tvs
        refused_with 'is truncated' trim --density 0.3 <cut.tvs
    done
}

@test "a wrong byte in a prefetched tensor" {
    local size
    size=$(stat -c %s "$FIVE")
    cp "$FIVE" broken.tvs
    printf '\377' | dd of=broken.tvs bs=1 seek=$((size * 60 / 100)) conv=notrunc status=none
    refused_with 'wrong checksum of tensor t2' trim --density 0.3 <broken.tvs
}

@test "a stage that fails ends the run although its input stays open" {
    mkfifo fifo
    exec 4<>fifo
    head -c 760000 "$FIVE" >&4 &
    run ! timeout 60 tv run 'trim --density 0.9 | rescale 1e37' <fifo
    exec 4>&-
    [ "$status" -eq 1 ]
    [[ $output = *'non-finite'* ]]
}
