#!/usr/bin/env bats
# The output, exit status and messages of tv run are those of the shell's pipes.
# shellcheck disable=SC2016,SC1003
load common
load lesson
load refusals

setup_file() { make_big; }

setup() {
    own_folder
    ln -s "$MODELS"/* .
    ln -s "$BIG" big.tvs
    make_good
}

# same LINE: the same bytes on standard output, with any number of threads
same() {
    bash -c "set -o pipefail; $1" >.shell
    [ -s .shell ]
    tv run "$1" | cmp .shell - || wrong "$1" || return 1
    tv run --threads=1 "$1" | cmp .shell - || wrong "$1, one thread" || return 1
    tv run --threads=4 "$1" | cmp .shell - || wrong "$1, four threads" || return 1
}

# says NAME TEXT LINE: fails with one sentence of stage NAME that contains TEXT
says() {
    REFUSED_BY=$1 refused_with "$2" tv run "$3"
}

# alone STATUS TEXT LINE: fails with one line on standard error, which contains TEXT
alone() {
    local status=0
    bash -c "set -o pipefail; $3" >.out 2>.err || status=$?
    [ "$status" -eq "$1" ] || wrong "$3: exits with $status" || return 1
    [ "$(wc -l <.err)" = 1 ] || wrong "$3: not one line" || return 1
    grep -qF -- "$2" .err || wrong "$3: the sentence lacks $2"
}

@test "an unterminated quote, and a record of 0 bytes" { # undefined behavior, for the sanitizers
    not tv run "'" 2>.err
    one_sentence tv
    printf '\xa4TVS1\0' >empty.tvs
    refused_with "not one msgpack map" tv-view empty.tvs
}

@test "one failure, one sentence: the stage after a failed one adds nothing" {
    alone 1 'tv: not-a-program: ' "tv run 'tv-extract base math | not-a-program | trim --density 0.5 | tv-view'"
    alone 1 'tv: ./base: ' "tv run 'tv-extract base math | ./base | trim --density 0.5 | pack --base base out'"
    alone 1 'trim: ' "tv run 'tv-extract base math | trim' | combine | tv-view"
    alone 1 'it writes no stream' "tv run 'tv-view good.tvs | trim --density 1' | combine"
    alone 1 'not-there' "tv run 'join-streams <(unpack not-there) good.tvs | combine' | tv-view"
    alone 1 'rescale: ' "tv run 'join-streams <(unpack base | rescale) good.tvs' | tv-view"
    alone 2 'not-there' "tv run 'tv-diff <(unpack not-there) <(unpack not-there)'"
    alone 1 'not-there' "tv run 'stack <(unpack \"not-there[0:1]\") <(unpack \"not-there[1:2]\") | pack --like base out'"
    alone 1 'the last command: Killed' "tv run 'tv-extract base math | sh -c \"kill -KILL \\\$\\\$\"'"
    [ ! -e out ]
}

@test "methods, written to an archive" {
    same 'tv-extract base math code | weigh math=0.6 code=0.4 | combine | rescale 0.5 | pack --base base -'
    same 'tv-extract base math code | trim --density 0.2 | elect-sign | combine --normalize=agreeing | pack --base base -'
    same 'tv-extract base math code | dare-drop --density 0.3 --seed 4 --l1 | rescale --by l1 | combine | pack --base base -'
    same 'unpack math code | combine --normalize=all | pack --like math -'
    same 'tv-extract base math code | pick "/*0*" | combine | pack --base base -' # the rest is hashed, and copied from the base
    same 'tv-extract base math code | add-base base | combine --normalize all | pack --like base -'
}

@test "methods, written to a folder" {
    for line in 'tv-extract base math code | trim --density 0.2 | elect-sign | combine --normalize=agreeing' \
        'tv-extract --dtype bfloat16 base math code | trim --density 0.3 --scope model | combine'; do
        bash -c "set -o pipefail; $line | pack --base base a"
        tv run "$line | pack --base base b"
        diff -r a b
        tv run --threads 3 "$line | pack --base base c" || tv run --threads=3 "$line | pack --base base c"
        diff -r a c
        rm -r a b c
    done
}

@test "streams from sources, files and standard input" {
    same 'unpack base math'
    same 'tv-extract base math code'
    same 'unpack --dtype float32 base math code | tv-extract'
    same 'cat big.tvs | weigh 0.5'
    tv run 'trim --density 0.2 | weigh 3' <big.tvs >found
    trim --density 0.2 <big.tvs | weigh 3 | cmp - found
}

@test "several observers in a row" {
    same 'tv-extract base math code | trim --density 0.5 | trim --density 0.3'
    same 'tv-extract base math code | trim --density 0.2 | rescale --by l1'
    same 'tv-extract base math code | dare-drop --density 0.5 --seed 1 --l1 | trim --density 0.5 | rescale --by l1 | trim --density 0.1'
    same 'join-streams big.tvs | trim --density 0.5 | rescale --by l1'
    same 'cat big.tvs | trim --density 0.5 | trim --density 0.3 | rescale --by l1'
}

@test "scope model, once and twice, after sources and streams" {
    same 'tv-extract base math code | trim --density 0.2 --scope model | elect-sign'
    same 'tv-extract base math code | trim --density 0.5 | trim --density 0.5 --scope model | trim --density 0.2 --scope model'
    same 'cat big.tvs | trim --density 0.2 --scope model | combine'
    same 'unpack --dtype float32 base math code | tv-extract | trim --density 0.2 --scope model'
}

@test "--wire bf16 rounds between stages too" {
    same 'tv-extract --wire bf16 base math code | trim --density 0.4 | rescale 0.3 | rescale 1.7'
    same 'tv-extract --wire bf16 base math code | rescale 0.3 | trim --density 0.4 | rescale --by l1 | combine'
    same 'unpack base math | rescale 0.3 | rescale 1.7'
}

@test "pick, join-streams and other sinks" {
    same 'tv-extract base math code | pick code "/*norm*" | trim --density 0.5'
    same 'join-streams <(tv-extract base math | trim --density 0.2) <(tv-extract base code) | combine'
    same "join-streams <(tv-extract base math | weigh '/*norm*=0') <(cat big.tvs | pick code) | combine"
    same 'tv-extract base math | join-streams - <(tv-extract base code | trim --density 0.2) | combine'
    same 'tv-extract base math code | trim --density 0.2 | stats'
    same 'tv-extract base math code | trim --density 0.2 | tv-view'
    same 'tv-extract base math code | trim --density 0.2 | tv-view --values'
    same 'unpack base math | tv-view'
    same 'unpack base math | stats --summary'
    same 'tv-extract base math code | pick code/none | tv-view --values'
    same 'tv-extract base math code | trim --density 0.3 | pick --drop "/model.layers*" code | pack --base base -'
    same 'tv-extract base math code | check'
    same 'tv-extract base math code | tv-diff - big.tvs'
    same 'tv-extract base math code | pick math | tv-view --values | from-text | trim --density 0.5'
}

@test "other programs in the middle, at the start and at the end" {
    same 'tv-extract base math code | cat | trim --density 0.2 | cat | cat | combine | rescale 2'
    same 'cat big.tvs | trim --density 0.2 | tail -c 1000'
    same "tv-extract base math code | /usr/bin/python3 $ROOT/share/etl/clip-outliers --quantile 0.99 | trim --density 0.2 | combine"
    same "cat big.tvs | sh -c 'cat; exit 0' | combine | tv-view --values | grep -c ."
}

@test "quotes and backslashes are the shell's" {
    same "tv-extract base math code | pick 'code/*mlp*' \"math/*\" | weigh math=\"0.5\" \\code=0.25"
    same 'tv-extract base math code | pick '\''/*norm.weight'\'' |
        weigh "[0.1,0.9]" \
            code=0.5'
    same "printf '%s|%s\\n' 'a b' \"c\\\"d\\\\\" e\\ f ''"
    same "echo \"it's\" '\"' a'b'\"c\"d"
}

@test "what the shell would expand is an error, not taken literally" {
    for line in 'unpack $HOME' 'unpack `x`' 'unpack a; rm b' 'unpack a > b' 'unpack a < b' \
        'unpack a & b' 'unpack (a)' 'unpack "$a"' "unpack 'a" 'unpack "a' 'unpack a |' '| combine' \
        'unpack a || combine' '' 'join-streams <(unpack a' 'unpack a)' 'unpack a\'; do
        exits 2 tv run "$line"
        one_sentence tv || wrong "$line"
    done
}

@test "exit statuses are those of filters and of other programs" {
    exits 0 tv run 'tv-extract base math | check'
    exits 1 tv run 'tv-extract base math | tv-diff - big.tvs'
    exits 2 tv run 'tv-extract base math | tv-diff - not-there'
    exits 1 tv run 'tv-extract base math | trim --density 0.5 | weigh chat=1 | combine | check'
    exits 2 tv run 'tv-extract base math | trim --density 2 | check'
    exits 1 tv run 'unpack not-there | combine'
    exits 3 tv run "tv-extract base math | sh -c 'cat; exit 3'"
    exits 3 tv run "cat big.tvs | combine | sh -c 'cat >/dev/null; exit 3'"
    exits 1 tv run "tv-extract base math | sh -c 'head -c 500; exit 3' | check"
    exits 127 tv run 'tv-extract base math | no-such-program'
    exits 1 tv run 'tv-extract base math | no-such-program | check'
    exits 0 tv run 'cat big.tvs | head -c 10'
}

@test "an error in any stage is one sentence under its name" {
    for stage in 'trim --density chat=1' 'weigh chat=1' 'rescale --by keep' 'combine --name math' \
        'pick chat' 'add-base not-there'; do
        says "${stage%% *}" '' "tv-extract base math code | $stage | elect-sign | check"
        says "${stage%% *}" '' "tv-extract base math code | trim --density 1 | $stage | combine | pack --base base out"
        says "${stage%% *}" '' "cat big.tvs | $stage | check"
    done
    says pack 'combine before pack' 'tv-extract base math code | pack --base base out'
    says pack 'other than 1' 'tv-extract base math | weigh 0.5 | pack --base base out'
    says unpack 'not-there' 'unpack not-there | combine | pack --like base out'
    says trim 'contains weights' 'unpack base | combine | trim --density 1 | check'
    says join-streams '' 'join-streams not-there good.tvs | check'
    says check 'is empty' 'true | check'
    [ ! -e out ]
}

@test "an error in a <( ), or before another program, is one sentence too" {
    says trim 'no model of that name' 'join-streams <(tv-extract base math | trim --density chat=1) | check'
    says trim 'no model of that name' 'tv-extract base math | trim --density chat=1 | cat | combine | pack --base base out'
    [ ! -e out ]
}

@test "a filter in the wrong place" {
    for line in 'unpack math | unpack code' 'unpack math | check | combine' 'unpack math | check code'; do
        exits 1 tv run "$line"
        one_sentence tv || wrong "$line"
    done
}

@test "bad streams into a chain" {
    REFUSED_BY=trim refuses_bad_streams tv run 'trim --density 0.5 | trim --density 0.5 --scope model | combine'
    REFUSED_BY=combine refuses_bad_streams tv run 'combine | tv-view --values'
}

@test "NaN is reported by the stage where it first occurs" {
    lesson | sed 's/^0 0.25 3$/0 nan 3/' | from-text --allow-nonfinite >nan.tvs
    REFUSED_BY=trim refused_with "tensor w of math has a non-finite number at flat index 4" \
        tv run 'trim --density 0.5 | combine' <nan.tvs
    REFUSED_BY=rescale refused_with "flat index" tv run 'rescale 3e38 | combine' <good.tvs
}

@test "bad outputs" {
    REFUSED_BY=combine refused_with "No space left" full
    without_reader tv run 'trim --density 0.5 | combine' <good.tvs
    without_reader tv run 'combine' <good.tvs
}

full() { tv run 'trim --density 0.5 | combine' <good.tvs >/dev/full; }

@test "a killed stage breaks the stream" {
    says combine 'is truncated' "sh -c 'head -c 300 good.tvs; kill -KILL \$\$' | combine | check"
    says combine 'is truncated' "sh -c 'head -c 20000 big.tvs; kill -KILL \$\$' | combine | pack --base base out"
    says join-streams 'is truncated' "join-streams <(sh -c 'head -c 300 good.tvs; kill -KILL \$\$') | check"
    [ ! -e out ]
}

@test "rows longer than a block: the same bytes in little memory, in a pipe and in tv run" {
    /usr/bin/python3 - <<'END'
import numpy, struct
for seed in range(3):
    x = numpy.random.default_rng(seed).standard_normal(2 * 1048600).astype("<f4")
    header = b'{"a":{"dtype":"F32","shape":[2,1048600],"data_offsets":[0,%d]}}' % x.nbytes
    open(f"m{seed}.safetensors", "wb").write(struct.pack("<Q", len(header)) + header + x.tobytes())
END
    tv-extract m0.safetensors m1.safetensors m2.safetensors >d.tv
    unpack m0.safetensors m1.safetensors >w.tv
    for f in "della-drop --density 0.5 --epsilon 0.1 --seed 1" "model-stock --per row" \
        "nuslerp --along rows"; do
        $f --threads 3 <d.tv >once
        $f --memory 4K <d.tv | cmp - once
        tv run "$f | trim --density 0.5" <d.tv >twice
        trim --density 0.5 <once | cmp - twice
    done
    f="della-drop --density 0.5 --epsilon 0.1 --seed 1"
    $f <d.tv | rescale --by l1 >once
    tv run "$f | rescale --by l1" <d.tv | cmp - once
    arcee-fusion <w.tv >once
    cat w.tv | arcee-fusion --memory 4K | cmp - once
    # half of the elements is kept, more of the large ones
    della-drop --density 0.5 --epsilon 0.4 --seed 1 <d.tv | pick m1 | stats | grep -cE ' 0\.(49|50)'
}
