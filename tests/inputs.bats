#!/usr/bin/env bats
# shellcheck disable=SC2154 # run sets stderr
# What is read: files that exist and cannot be read, files that change while they are read, and
# inputs that are long.
load common
load refusals

setup() {
    own_folder
    printf 'kind weights\nmodel base\ntensor w 2x3\nvector base\n1 2 3\n4 5 6\n' >base.txt
    mkdir base math
    from-text base.txt | pack base/model.safetensors
    from-text base.txt | rescale 2 | pack math/model.safetensors
    echo '{"torch_dtype": "float32"}' >base/config.json
}

# refused SENTENCE: one stage of a merge says SENTENCE, and nothing is left behind
refused() {
    run ! bash -c 'set -o pipefail; tv-extract base math | combine | pack --base base out'
    [ "${lines[-1]#*: }" = "$1" ]
    [ ! -e out ]
    [ -z "$(find . -name '.out*')" ]
}

@test "what exists and cannot be read is not missing" {
    for file in config.json tokenizer.json generation_config.json; do
        rm -f "base/$file"
        ln -s /nonexistent "base/$file"
        refused "cannot read base/$file: it is a link to a missing file"
        ln -sf "$file" "base/$file"
        refused "cannot read base/$file: Too many levels of symbolic links"
        rm "base/$file"
        mkfifo "base/$file"
        refused "cannot read base/$file: not a regular file"
        rm "base/$file"
        truncate -s 257M "base/$file"
        refused "base/$file is larger than 256 MiB, the maximum for an auxiliary file"
        rm "base/$file"
    done
    mkdir base/config.json
    refused "cannot read config.json: it is a folder"
}

@test "a file without read permission is not missing" {
    [ "$(id -u)" != 0 ] || skip "root may read every file"
    chmod 000 base/config.json
    refused "cannot open base/config.json: Permission denied"
}

@test "files that are not copied may be unreadable" {
    ln -s /nonexistent base/README.md
    mkfifo base/events.log
    tv-extract base math | combine | pack --base base out
    [ -e out/config.json ]
}

@test "hidden files and sub-folders are not copied, and pack notes it" {
    mkdir base/original base/tokenizer
    touch base/.gitattributes
    tv-extract base math | combine >in.tvs
    run -0 pack --base base out <in.tvs
    [ "$output" = "pack: note: base: hidden files and sub-folders are not copied: .gitattributes, original/, tokenizer/" ]
}

@test "weights and indexes that cannot be read are not missing" {
    mkdir linked
    ln -s /nonexistent linked/model.safetensors
    cp base/model.safetensors linked/other.safetensors
    run ! --separate-stderr unpack linked
    [ "$stderr" = "unpack: cannot read linked/model.safetensors: it is a link to a missing file" ]
    mkdir index
    cp base/model.safetensors index/model-00001-of-00001.safetensors
    ln -s /nonexistent index/model.safetensors.index.json
    run ! --separate-stderr unpack index
    [ "$stderr" = "unpack: cannot read index/model.safetensors.index.json: it is a link to a missing file" ]
}

@test "a dangling link is not looked for in the Hugging Face cache" {
    snapshot=hub/models--m/snapshots/1
    mkdir -p "$snapshot" hub/models--m/refs
    cp base/model.safetensors "$snapshot"
    printf 1 >hub/models--m/refs/main
    export HF_HUB_CACHE=$T/hub
    unpack m >/dev/null
    ln -s /nonexistent m
    run ! --separate-stderr unpack m
    [ "$stderr" = "unpack: cannot open m: No such file or directory" ]
    rm m
    rm -r "$snapshot"
    run ! --separate-stderr unpack m
    [ "$stderr" = "unpack: the local Hugging Face cache lacks revision 1 of m: hf download m --revision 1" ]
    run ! --separate-stderr unpack hub/models--m/
    [ "$stderr" = "unpack: the local Hugging Face cache lacks revision 1 of hub/models--m/: hf download m --revision 1" ]
    rm hub/models--m/refs/main
    ln -s /nonexistent hub/models--m/refs/main
    run ! --separate-stderr unpack m
    [ "$stderr" = "unpack: cannot read $T/hub/models--m/refs/main: No such file or directory" ]
}

@test "revisions in the Hugging Face cache, and incomplete downloads" {
    one=0123456789abcdef0123456789abcdef01234567 two=0123456fffffffffffffffffffffffffffffffff
    repository=hub/models--acme--m
    mkdir -p $repository/snapshots/$one $repository/refs
    cp base/model.safetensors $repository/snapshots/$one
    export HF_HUB_CACHE=$T/hub
    run ! --separate-stderr unpack acme/m
    [ "$stderr" = "unpack: the local Hugging Face cache has no revision main of acme/m, but acme/m@$one; from the Hub: hf download acme/m" ]
    printf $one >$repository/refs/main
    unpack m=acme/m >m.tvs
    for revision in main $one 0123456; do
        unpack m=acme/m@$revision | cmp - m.tvs
    done
    run ! --separate-stderr unpack acme/m@012345
    [[ $stderr = *"has no revision 012345 of acme/m, but acme/m@$one; from the Hub: hf download acme/m --revision 012345" ]]
    mkdir $repository/snapshots/$two
    run ! --separate-stderr unpack acme/m@0123456
    [ "$stderr" = "unpack: 2 revisions of acme/m in the local Hugging Face cache start with 0123456" ]
    run ! --separate-stderr unpack acme/m@$two
    [[ $stderr = *"$two contains no weights; the download is incomplete: hf download acme/m --revision $two" ]]
    echo '{"weight_map": {"a": "model-00001-of-00002.safetensors"}}' >$repository/snapshots/$two/model.safetensors.index.json
    run ! --separate-stderr unpack acme/m@$two
    [[ $stderr = *"the shard model-00001-of-00002.safetensors is missing but listed in model.safetensors.index.json; the download is incomplete: hf download acme/m --revision $two" ]]
    rm $repository/snapshots/$two/model.safetensors.index.json
    cp base/model.safetensors $repository/snapshots/$two/model-00001-of-00002.safetensors
    run ! --separate-stderr unpack acme/m@$two
    [[ $stderr = *"the shard model-00002-of-00002.safetensors is missing; the download is incomplete: hf download acme/m --revision $two" ]]
}

@test "a configuration's tokenizers and chat templates that cannot be read are errors" {
    cp base/config.json math
    echo '{"model": {"vocab": {"a": 0}}}' >base/tokenizer.json
    ln -s /nonexistent math/tokenizer.json
    printf 'merge_method: linear\nmodels:\n  - {model: base, parameters: {weight: 1}}\n' >m.yml
    printf '  - {model: math, parameters: {weight: 1}}\n' >>m.yml
    run ! tv merge --check m.yml out
    [ "$output" = "tv merge: cannot read math/tokenizer.json: it is a link to a missing file" ]
    rm math/tokenizer.json
    ln -s /nonexistent math/tokenizer_config.json
    echo 'chat_template: auto' >>m.yml
    run ! tv from-yaml m.yml
    [[ $output = *": chat_template: cannot read math/tokenizer_config.json: it is a link to a missing file" ]]
}

@test "doubling the models, slices, tasks, images, templates or tensors doubles the cost" {
    "$TESTS/scaling.py" yaml 5000 tv from-yaml {}
    "$TESTS/scaling.py" slices 5000 tv from-yaml {}
    "$TESTS/scaling.py" text 5000 from-text {}
    "$TESTS/scaling.py" samples 10000 score "$DEMO/base" --samples={}
    "$TESTS/scaling.py" images 20000 score "$GOLDEN/models/qwen2vl/tied/hub" --samples={}
    "$TESTS/scaling.py" templates 1000 tv from-yaml {}/config.yml
    "$TESTS/scaling.py" experts 1000 tv extract-lora --force {}/base {}/tuned {}/out
    "$TESTS/scaling.py" tensors 5000 tv merge --check {}/config.yml {}/out
}

@test "doubling the models of a stream doubles the cost of a pipeline" {
    "$TESTS/scaling.py" text 5000 tv run "from-text {} | pick 'm*' | elect-sign | combine"
    "$TESTS/scaling.py" text 5000 sh -c 'from-text {} | join-streams - | check'
    "$TESTS/scaling.py" rules 5000 tv run "from-text {}/text | weigh @{}/rules | combine"
}

# Models whose tensors do not fit into a pipe's buffer.
make_large() {
    local model
    for model in base math; do
        printf 'kind weights\nmodel m\ntensor w 1000x1000\nvector m\n' >large.txt
        awk 'BEGIN {for (i = 1; i <= 1000000; i++) printf i % 1000 ? "1 " : "1\n"}' >>large.txt
        rm -rf "$model"
        mkdir "$model"
        from-text large.txt | pack "$model/model.safetensors"
    done
}

# write_inside FILE: changes a byte of it in place
write_inside() { printf x | dd of="$1" bs=1 seek=3000000 conv=notrunc status=none; }

@test "a model that changes while it is read is an error" {
    make_large
    unpack base >base.tvs
    for command in 'tv-extract base math' 'unpack base' 'unpack base.tvs'; do
        file=base/model.safetensors
        [ "$command" != 'unpack base.tvs' ] || file=base.tvs
        { $command 2>err || echo "$?" >status; } |
            { head -c 1 >/dev/null; write_inside "$file"; cat >/dev/null; }
        [ "$(cat status)" = 1 ]
        [ "$(cat err)" = "${command%% *}: $file changed while it was read" ]
    done
}

@test "a stream, a text or a configuration that changes while it is read is an error" {
    make_large
    unpack base >base.tvs
    for command in 'weigh 1 base.tvs' 'join-streams base.tvs' 'from-text large.txt'; do
        file=${command##* }
        [ "$command" != 'weigh 1 base.tvs' ] || command='weigh 1' file='standard input'
        { $command <base.tvs 2>err || echo "$?" >status; } |
            { head -c 1 >/dev/null; touch base.tvs large.txt; cat >/dev/null; }
        [ "$(cat status)" = 1 ]
        [ "$(cat err)" = "${command%% *}: $file changed while it was read" ]
    done
    # Comments of 8 MB, so that reading takes longer than the clock's resolution.
    /usr/bin/python3 -c 'print(("#" * 999 + "\n") * 8000 + "merge_method: linear\nmodels: [{model: base, parameters: {weight: 1}}]")' >c.yml
    (while [ -e c.yml ]; do touch -c c.yml; done) &
    for _ in {1..50}; do ! tv from-yaml c.yml 2>err >out || continue; break; done
    rm c.yml
    wait
    [ "$(cat err)" = "tv from-yaml: c.yml changed while it was read" ]
}

@test "a base that changes while pack reads it is not published" {
    make_large
    tv-extract base math | combine >in.tvs
    {
        head -c 1000000 in.tvs
        until [ -n "$(find . -name '.out*')" ]; do sleep 0.01; done
        write_inside base/model.safetensors
        tail -c +1000001 in.tvs
    } | pack --base base out 2>err || status=$?
    [ "$status" = 1 ]
    [ "$(cat err)" = "pack: base/model.safetensors changed while it was read" ]
    [ ! -e out ]
    [ -z "$(find . -name '.out*')" ]
}

@test "a header of many empty objects is refused before it takes memory" {
    python3 - <<'END'
import struct
text = ("{" + ",".join('"%d":{}' % i for i in range(500000)) + "}").encode()
open("objects.safetensors", "wb").write(struct.pack("<Q", len(text)) + text)
END
    run ! --separate-stderr bash -c "ulimit -v 120000; unpack objects.safetensors"
    [ "$stderr" = "unpack: objects.safetensors: its header consists of too many small objects" ]
}
