#!/usr/bin/env bats
# Merges in parts: the bytes of one merge, whichever parts were killed, run twice or side by side.
load common
load lesson
load refusals

TIES='tv-extract base math code | trim --density 0.2 | elect-sign | weigh 0.4 /*mlp*=0.7 | combine --normalize=agreeing'

setup() {
    own_folder
    cp -r "$A"/{base,math,code} .
}

# parts N LINE: runs all N parts of "LINE | pack ..." with the target out, and publishes them
parts() {
    local i
    for ((i = 1; i <= $1; i++)); do
        tv run "$2 --part $i/$1 out" 2>>notes || return 1
    done
    tv finish out
}

# same_as SINGLE: out has the same files, and no parts folder is left
same_as() {
    diff -r "$1" out && [ ! -e .out.parts ] && rm -r out
}

record() { echo ".out.parts/model-0000$1-of-0000$2.safetensors.json"; }
shard() { echo ".out.parts/model/model-0000$1-of-0000$2.safetensors"; }

# three_parts: all parts of TIES, not yet published
three_parts() {
    for i in 1 2 3; do tv run "$TIES | pack --base base --part $i/3 out"; done
}

@test "as many files as were asked for at most, the largest as small as can be" {
    for n in 1 2 3 5 1000; do
        tv run "$TIES | pack --base base --shards $n out$n"
        [ "$(find out$n -name '*.safetensors' | wc -l)" -le "$n" ]
        tv-diff out1 out$n
    done
    largest=$(stat -c %s out3/*.safetensors | sort -n | tail -n 1)
    tv run "$TIES | pack --base base --shard-size $((largest - 8000)) smaller"
    [ "$(find smaller -name '*.safetensors' | wc -l)" -gt 3 ]
}

@test "parts are the bytes of one merge, by any method and in any number" {
    for line in "$TIES | pack --base base" \
        'unpack math code | slerp --t 0.3 | pack --like math' \
        'tv-extract base math code | dare-drop --density 0.4 --seed 3 --l1 | rescale --by l1 | elect-sign | combine | pack --base base' \
        'tv-extract base math code | della-drop --density 0.5 --epsilon 0.1 --seed 3 | elect-sign | combine | pack --base base'; do
        for n in 1 2 3 5; do
            rm -rf single
            tv run "$line --shards $n single"
            parts $n "$line"
            same_as single
        done
    done
}

@test "more parts than tensors: some write nothing" {
    line="tv-extract base math code | pick '/*layers.0*' | combine | pack --no-fill --base base"
    tv run "$line --shards 20 single"
    parts 20 "$line"
    [ "$(find out -name '*.safetensors' | wc -l)" -lt 20 ]
    same_as single
}

@test "dtypes, tensors dropped on the way, tensors filled in, sizes in place of a number" {
    for line in "$TIES | pack --base base --dtype float16" \
        'tv-extract --dtype bfloat16 base math code | combine | pack --base base' \
        "tv-extract base math code | pick '/*layers*' | combine | pack --base base" \
        "tv-extract base math code | pick '/*layers.0*' | combine | pack --no-fill --base base" \
        'tv-extract base math | pack --onto code'; do
        rm -rf single
        tv run "$line --shards 3 single"
        parts 3 "$line"
        same_as single
    done
    tv run "$TIES | pack --base base --shard-size 100K sized"
    for i in 1 2; do tv run "$TIES | pack --base base --shard-size 100K --part $i/2 out"; done
    tv finish out
    same_as sized
}

@test "streams, from pipes and of several sources" {
    for line in 'join-streams <(tv-extract base math) <(tv-extract base code) | combine | pack --base base' \
        'cat deltas.tvs | combine | pack --base base'; do
        rm -rf single
        tv-extract base math code >deltas.tvs
        tv run "$line --shards 3 single"
        parts 3 "$line"
        same_as single
        tv run "$line --shards 3 --resume out"
        same_as single
    done
    tv-extract base math code | combine | pack --base base --shards 2 single2
    for i in 1 2; do tv-extract base math code | combine | pack --base base --part $i/2 out; done
    tv finish out
    same_as single2
}

@test "shards from a stream are finished only at its end, and made each time" {
    weights | from-text | combine >one.tvs
    weights | sed 's/^-1 4/-2 8/' | from-text | combine >two.tvs
    head -c -20 one.tvs >cut.tvs
    REFUSED_BY=pack refused pack --like base --part 1/1 out <cut.tvs
    REFUSED_BY=tv refused_with "is missing" tv finish out
    pack --like base --part 1/1 out <one.tvs
    pack --like base --part 1/1 out <two.tvs # as long, by the same recipe, and another
    tv finish out
    pack --like base --shards 1 single <two.tvs
    same_as single
}

@test "a part computes only its own tensors" {
    for i in 1 2 3; do
        tv run --report $i.json "$TIES | pack --base base --part $i/3 out"
    done
    tv run --report all.json "$TIES | pack --base base --shards 3 single"
    bytes() { sed -n '/"name": "trim"/,/bytes/s/.*"bytes": \([0-9]*\).*/\1/p' "$1"; }
    [ $(($(bytes 1.json) + $(bytes 2.json) + $(bytes 3.json))) = "$(bytes all.json)" ]
}

@test "tv merge: --shards, --part, --resume" {
    printf '%s\n' 'merge_method: ties' 'base_model: base' 'models:' \
        '  - model: math' '    parameters: {weight: 0.5, density: 0.4}' \
        '  - model: code' '    parameters: {weight: 0.6, density: 0.4}' 'dtype: bfloat16' >config.yml
    tv merge --shards 3 config.yml single
    for i in 3 1 2; do tv merge --part $i/3 config.yml out; done
    tv finish out
    same_as single
    tv merge --shards 3 --resume config.yml out
    same_as single
    for out in - o.tar o.safetensors; do
        for option in --part=1/2 --resume; do
            usage_error_with "can only write a folder" pack --base base $option $out
            REFUSED_BY='tv merge' usage_error_with "can only write a folder" tv merge $option config.yml $out
        done
    done
}

@test "a part that was killed is run again" {
    tv run "$TIES | pack --base base --shards 3 single"
    for k in 1 2 3; do
        tv run "$TIES | pack --base base --shards 3 --resume out" &
        pid=$!
        while kill -0 $pid 2>/dev/null && [ ! -e "$(record $k 3)" ]; do :; done
        kill -KILL $pid 2>/dev/null || true
        wait $pid || true
        [ -e out ] || tv run "$TIES | pack --base base --shards 3 --resume out"
        same_as single
    done
}

@test "finished shards are not recomputed" {
    tv run "$TIES | pack --base base --shards 3 single"
    tv run "$TIES | pack --base base --part 1/3 out"
    mkdir -p "$(record 2 3)"/in-the-way
    REFUSED_BY=pack refused_with "cannot write model-00002-of-00003.safetensors.json" \
        tv run "$TIES | pack --base base --part 2/3 out"
    first=$(stat -c %i "$(shard 1 3)")
    rm -r "$(record 2 3)"
    tv run "$TIES | pack --base base --shards 3 --resume out" 2>notes
    grep -q "1 of 3 shards are already finished" notes
    [ "$(stat -c %i out/model-00001-of-00003.safetensors)" = "$first" ]
    same_as single
    three_parts
    inodes=$(stat -c %i .out.parts/model/*.safetensors)
    three_parts 2>notes
    [ "$(grep -c "1 of 1 shards are already finished" notes)" = 3 ]
    [ "$(stat -c %i .out.parts/model/*.safetensors)" = "$inodes" ]
}

@test "a damaged shard is detected, and recomputed by its part" {
    tv run "$TIES | pack --base base --shards 3 single"
    three_parts
    printf 'x' | dd of="$(shard 2 3)" bs=1 seek=100000 conv=notrunc 2>/dev/null
    REFUSED_BY=tv refused_with "model-00002-of-00003.safetensors is damaged" tv finish out
    tv run "$TIES | pack --base base --part 2/3 out" 2>notes
    grep -q "model-00002-of-00003.safetensors is damaged.*it is recomputed" notes
    truncate -s -8 "$(shard 3 3)"
    REFUSED_BY=tv refused_with "model-00003-of-00003.safetensors is damaged" tv finish out
    tv run "$TIES | pack --base base --part 3/3 out"
    rm "$(shard 1 3)"
    REFUSED_BY=tv refused_with "model-00001-of-00003.safetensors is damaged" tv finish out
    tv run "$TIES | pack --base base --part 1/3 out"
    echo '{}' >.out.parts/model/config.json
    REFUSED_BY=tv refused_with "the set of auxiliary files is damaged" tv finish out
    tv run "$TIES | pack --base base --part 1/3 out"
    echo mine >.out.parts/model/notes.json
    REFUSED_BY=tv refused_with "contains notes.json, which no merge has written" tv finish out
    mv .out.parts/model/notes.json .
    tv finish out
    rm notes.json
    same_as single
}

@test "a pipe or a device among the parts is not read" {
    three_parts
    rm "$(shard 2 3)" .out.parts/plan
    ln -s /dev/zero "$(shard 2 3)"
    mkfifo .out.parts/plan
    REFUSED_BY=tv refused_with "the plan of out is missing or damaged" timeout 60 tv finish out
    tv run "$TIES | pack --base base --part 1/3 out"
    REFUSED_BY=tv refused_with "model-00002-of-00003.safetensors is damaged" timeout 60 tv finish out
    tv run "$TIES | pack --base base --part 2/3 out"
    tv run "$TIES | pack --base base --shards 3 single"
    tv finish out
    same_as single
}

@test "a missing shard, another recipe, other models: errors that name the shard" {
    tv run "$TIES | pack --base base --part 1/3 out"
    tv run "$TIES | pack --base base --part 2/3 out"
    REFUSED_BY=tv refused_with "model-00003-of-00003.safetensors is missing" tv finish out
    tv run "${TIES/0.2/0.3} | pack --base base --part 3/3 out"
    REFUSED_BY=tv refused_with "model-00001-of-00003.safetensors was made by another recipe" tv finish out
    tv run "$TIES | pack --base base --part 3/3 out" 2>notes
    grep -q "model-00003-of-00003.safetensors was made by another recipe; it is recomputed" notes
    cp -r math before
    tv-extract base math | rescale 2 | pack --base base changed
    rm -r math
    mv changed math
    tv run "$TIES | pack --base base --part 2/3 out" 2>notes
    grep -q "model-00002-of-00003.safetensors was made from other models; it is recomputed" notes
    REFUSED_BY=tv refused_with "model-00001-of-00003.safetensors was made from other models" tv finish out
    rm -r math
    mv before math
    tv run "$TIES | pack --base base --part 2/3 out"
    tv run "$TIES | pack --base base --part 1/2 other"
    cp .other.parts/model-00001-of-00002.safetensors.json .out.parts
    REFUSED_BY=tv refused_with "model-00001-of-00002.safetensors of another merge" tv finish out
    rm .out.parts/model-00001-of-00002.safetensors.json
    tv run "$TIES | pack --base base --shards 3 single"
    tv finish out
    same_as single
}

@test "--resume with another recipe recomputes all shards" {
    tv run "$TIES | pack --base base --part 1/2 out"
    tv run "$TIES | pack --base base --part 1/3 out"
    tv run "${TIES/0.2/0.3} | pack --base base --shards 3 single"
    tv run "${TIES/0.2/0.3} | pack --base base --shards 3 --resume out" 2>notes
    grep -q "by another recipe; it is recomputed" notes
    same_as single
}

@test "parts side by side, and a part twice" {
    tv run "$TIES | pack --base base --shards 4 single"
    pids=
    for i in 1 2 3 4 2 3; do
        tv run "$TIES | pack --base base --part $i/4 out" 2>>notes &
        pids+=" $!"
    done
    for pid in $pids; do wait "$pid"; done
    tv finish out
    same_as single
}

@test "no process publishes while another works" {
    three_parts
    exec 7<.out.parts/lock
    flock -s 7
    REFUSED_BY=tv refused_with "another process is still working on out" tv finish out
    REFUSED_BY=pack refused_with "another process is still working on out" \
        tv run "$TIES | pack --base base --resume out"
    exec 7<&-
    exec 7<.out.parts/lock
    flock -x 7
    REFUSED_BY=pack refused_with "another process is publishing out" tv run "$TIES | pack --base base --part 1/3 out"
    exec 7<&-
    tv finish out
}

@test "links, and folders of other users, are not followed" {
    mkdir -p victim/photos
    echo precious >victim/thesis.txt
    tv run "$TIES | pack --base base --part 1/3 out"
    rm -r .out.parts/model
    ln -s "$PWD/victim" .out.parts/model
    REFUSED_BY=pack refused_with "is not a folder but a file or a link" tv run "$TIES | pack --base base --resume out"
    rm .out.parts/model .out.parts/lock
    ln -s "$PWD/victim/lock" .out.parts/lock
    not tv run "$TIES | pack --base base --resume out"
    [ ! -e victim/lock ]
    rm -r .out.parts
    ln -s "$PWD/victim" .out.parts
    REFUSED_BY=pack refused_with "is not a folder but a file or a link" tv run "$TIES | pack --base base --resume out"
    rm .out.parts
    mkdir .out.parts
    if [ "$(id -u)" = 0 ]; then
        chown 1234 .out.parts
        REFUSED_BY=pack refused_with "belongs to another user" tv run "$TIES | pack --base base --resume out"
        chown 0 .out.parts
    fi
    tv run "$TIES | pack --base base --part 1/3 out"
    mkdir .out.parts/mine
    tv run "$TIES | pack --base base --resume out" 2>notes
    grep -q "^pack: warning: out is complete, but .out.parts next to it could not be removed: Directory not empty$" notes
    [ "$(find victim | sort | tr '\n' ' ')" = "victim victim/photos victim/thesis.txt " ]
    [ "$(ls -A .out.parts)" = mine ]
}

@test "a folder or a file that no merge has made is left as it is, whatever its name" {
    mkdir .out.parts
    for name in plan files header model/README.md model/model.safetensors model-00001-of-00003.safetensors.json; do
        mkdir -p "$(dirname .out.parts/$name)"
        echo precious >.out.parts/$name
        REFUSED_BY=pack refused_with ".out.parts contains ${name%%/*}, which no merge has written" \
            tv run "$TIES | pack --base base --resume out"
        REFUSED_BY=tv refused_with ".out.parts contains ${name%%/*}, which no merge has written" tv finish out
        [ "$(cat .out.parts/$name)" = precious ]
        rm .out.parts/$name
        rmdir .out.parts/model 2>/dev/null || true
        [ -z "$(ls -A .out.parts)" ]
    done
    REFUSED_BY=tv refused_with "out has no parts: .out.parts is empty" tv finish out
    [ -z "$(ls -A .out.parts)" ]
    echo precious >.out.parts/lock
    for run in "pack --base base --part 1/3 out" "pack --base base --resume out"; do
        REFUSED_BY=pack refused_with ".out.parts contains lock, which no merge has written" tv run "$TIES | $run"
    done
    [ "$(cat .out.parts/lock)" = precious ]
    rm .out.parts/lock

    tv run "$TIES | pack --base base --part 1/3 out" # into the empty folder
    echo precious | tee "$(shard 2 3)" >.out.parts/model/README.md
    REFUSED_BY=pack refused_with ".out.parts/model contains model-00002-of-00003.safetensors, which no merge has written" \
        tv run "$TIES | pack --base base --part 2/3 out"
    [ "$(cat "$(shard 2 3)")" = precious ]
    rm "$(shard 2 3)"
    for i in 2 3; do tv run "$TIES | pack --base base --part $i/3 out"; done
    REFUSED_BY=tv refused_with ".out.parts/model contains README.md, which no merge has written" tv finish out
    [ "$(cat .out.parts/model/README.md)" = precious ]
    rm .out.parts/model/README.md
    mkdir .out.parts/mine
    tv finish out 2>notes
    [ "$(cat notes)" = "tv: finish: warning: out is complete, but .out.parts next to it could not be removed: Directory not empty" ]
    rmdir .out.parts/mine .out.parts
    tv run "$TIES | pack --base base --shards 3 single"
    same_as single
}

@test "a record that cannot be read is an error" {
    [ "$(id -u)" != 0 ] || skip "root reads everything"
    three_parts
    for file in "$(record 2 3)" .out.parts/auxiliary-files.json .out.parts/plan "$(shard 1 3)" .out.parts/model/config.json; do
        chmod 000 "$file"
        REFUSED_BY=tv refused_with "cannot read" tv finish out
        chmod 644 "$file"
    done
    tv finish out
}

@test "hundreds of shards with few descriptors" {
    tv-extract base math code >deltas.tvs
    few() { (ulimit -n 40 && "$@"); }
    few pack --base base --shard-size 20K --resume out < <(combine <deltas.tvs) 2>.err || few_status=$?
    [ "${few_status:-0}" = 0 ] || grep -q "open files, but only 40 are allowed" .err
    (ulimit -Sn 40 && tv run "$TIES | pack --base base --shard-size 20K --resume out3")
    for i in 1 2; do tv run "$TIES | pack --base base --shard-size 20K --part $i/2 out2"; done
    few tv finish out2
    diff -r out2 out3
}

@test "a full disk" {
    limited() { (ulimit -f 100 && tv run "$TIES | pack --base base --part 1/3 out"); }
    REFUSED_BY=pack refused_with "cannot write model-00001-of-00003.safetensors" limited
    [ -z "$(find .out.parts -name '.model*')" ]
    REFUSED_BY=tv refused_with "is missing" tv finish out
}

@test "temporary files of a killed process are removed by the next one" {
    tv run "$TIES | pack --base base --part 1/3 out"
    touch .out.parts/.model-00002-of-00003.safetensors.{abcdef,abcdeg}
    exec 7<.out.parts/.model-00002-of-00003.safetensors.abcdeg
    flock -x 7
    tv run "$TIES | pack --base base --part 2/3 out"
    [ ! -e .out.parts/.model-00002-of-00003.safetensors.abcdef ]
    [ -e .out.parts/.model-00002-of-00003.safetensors.abcdeg ] # another process is writing it
    exec 7<&-
}

@test "an existing target" {
    tv run "$TIES | rescale 2 | pack --base base out"
    echo '{"kept": 1}' >out/config.json
    REFUSED_BY=pack refused_with "out exists already" tv run "$TIES | pack --base base --part 1/1 out"
    tv run "$TIES | pack --force --base base --part 1/1 out"
    REFUSED_BY=tv refused_with "out exists already" tv finish out
    grep -q kept out/config.json
    tv finish --force out
    tv run "$TIES | pack --base base --shards 1 single"
    same_as single
}

@test "refusals" {
    REFUSED_BY=pack refused_with "trim needs the whole model in one run" \
        tv run "tv-extract base math code | trim --scope model --density 0.2 | combine | pack --base base --part 1/2 out"
    for part in 0/2 3/2 1 1/ /2 1/0 a/b 1/2x 1/1000000000; do
        usage_error_with "expected I/N with" pack --base base --part $part out
        REFUSED_BY='tv merge' usage_error_with "expected I/N with" tv merge --part $part config.yml out
    done
    for own in "pack --shard-size 1G --base base" "tv merge --out-shard-size 1G config.yml"; do
        export REFUSED_BY=${own%% --*}
        # shellcheck disable=SC2086
        {
            usage_error_with "only one of" $own --shards 2 out
            own=${own/--*shard-size 1G }
            usage_error_with "only one of" $own --part 1/2 --resume out
            usage_error_with "--shards must be at least 1, found 0" $own --shards 0 out
            usage_error_with "is not a whole number" $own --shards "$(printf %01000d 0 | tr 0 9)" out
        }
    done
    unset REFUSED_BY
    REFUSED_BY=pack usage_error_with "--shard-size must be at least 1, found 0" pack --shard-size 0 --base base out
    REFUSED_BY='tv merge' usage_error_with "--out-shard-size: \"0\" is not a number" tv merge --out-shard-size 0 config.yml out
    run -2 tv run "$TIES | pack --base base --part 0/3 out"
    for out in out.tar out.safetensors out.tar.zst; do
        REFUSED_BY=pack refused_with "can only write a folder" tv run "$TIES | pack --base base --resume $out"
    done
    REFUSED_BY=tv refused_with "out has no parts" tv finish out
    [ ! -e .out.parts ]
    usage_error tv finish --no-such out
    usage_error tv finish --force=1 out
}

@test "a broken plan, a broken record" {
    three_parts
    cp .out.parts/plan plan
    for broken in '' '{' '{"shard_size": 0}' '{"shard_size": 100, "filled": 1000}' '[]'; do
        echo "$broken" >.out.parts/plan
        REFUSED_BY=tv refused_with "out" tv finish out
    done
    cp plan .out.parts/plan
    head -c 100 .out.parts/header >header
    cp header .out.parts/header
    REFUSED_BY=tv refused_with "the plan of out is missing or damaged" tv finish out
    tv run "$TIES | pack --base base --part 1/3 out"
    for broken in '' '{' '[]' '{"recipe": 1}'; do
        echo "$broken" >"$(record 2 3)"
        REFUSED_BY=tv refused_with "model-00002-of-00003.safetensors" tv finish out
    done
    tv run "$TIES | pack --base base --part 2/3 out"
    sed -i 's/"read"/"seen"/' "$(record 1 3)"
    REFUSED_BY=tv refused_with "model-00001-of-00003.safetensors is damaged" tv finish out
    tv run "$TIES | pack --base base --part 1/3 out"
    sed -i 's/"read"/"seen"/' .out.parts/auxiliary-files.json
    REFUSED_BY=tv refused_with "the set of auxiliary files is damaged" tv finish out
    tv run "$TIES | pack --base base --part 1/3 out"
    tv run "$TIES | pack --base base --shards 3 single"
    tv finish out
    same_as single
}
