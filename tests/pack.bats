#!/usr/bin/env bats
# shellcheck disable=SC2154 # run sets stderr
load common
load lesson
load refusals

setup_file() { make_big; }

setup() {
    own_folder
    printf 'kind weights\nmodel base\ntensor w 2x3\nvector base\n1 2 3\n4 5 6\n' >base.txt
    printf 'tensor x 2\nvector base BF16\n7 8\n' >>base.txt
    mkdir base
    from-text base.txt | pack base/model.safetensors
    echo '{"torch_dtype": "float32"}' >base/config.json
    echo '{"tokens": 3}' >base/tokenizer.json
    lesson | from-text | pick math >good.tvs
}

numbers() {
    unpack "$1" | tensors | sed 's/ stored=[^ ]*//'
}

@test "base plus task vector; tensors that the stream lacks are those of the base" {
    pack --base base out <good.tvs
    numbers out >found
    diff -u - found <<END
tensor w 2x3
vector out
2 0 3.5
4 5.25 9
tensor x 2
vector out BF16
7 8
END
    cmp base/tokenizer.json out/tokenizer.json
    grep -q float32 out/config.json
    grep -q x out/README.md
    pack --base base/ --force out/ <good.tvs
    numbers out | cmp - found
}

@test "weights as in the stream, with the auxiliary files of another model" {
    unpack base | rescale 2 | pack --like base out
    numbers out >found
    diff -u - found <<END
tensor w 2x3
vector out
2 4 6
8 10 12
tensor x 2
vector out BF16
14 16
END
    cmp base/tokenizer.json out/tokenizer.json
    # A config that is not valid JSON stays as it is.
    printf '{"torch_dtype": "float32"}\0more' >base/config.json
    unpack base | pack --like base --force out
    cmp base/config.json out/config.json
}

@test "--dtype sets the dtype of every floating-point tensor" {
    pack --base base --dtype float16 out <good.tvs
    numbers out | grep vector >found
    printf 'vector out F16\nvector out F16\n' | diff -u - found
}

@test "a folder, a file, archives and shards hold the same model" {
    mkdir out
    pack --base base out/a <good.tvs
    pack --base base out/a.safetensors <good.tvs
    pack --base base out/a.tar <good.tvs
    pack --base base out/a.tar.zst <good.tvs
    pack --base base --shard-size 25 out/shards <good.tvs
    pack --base base - <good.tvs >out/standard.tar
    [ -e out/shards/model-00002-of-00002.safetensors ]
    numbers a=out/a >found
    for other in out/a.safetensors out/a.tar out/a.tar.zst out/shards out/standard.tar; do
        numbers a="$other" | cmp - found
    done
}

@test "refuses an existing target, replaces it with --force, leaves nothing else" {
    pack --base base out <good.tvs
    cp -r out before
    refused_with "out" pack --base base out <good.tvs
    rescale 0 <good.tvs >zero.tvs
    diff -r before out
    pack --base base --force out <zero.tvs
    numbers w=out >found
    numbers w=base | cmp - found
    [ "$(echo .*out* *out*)" = ".out out" ]
    refused pack --base base --force out < <(head -c 300 good.tvs)
    numbers w=out | cmp - found
}

@test "--force does not destroy an input of the run" {
    cp -r base b
    cp -r base m
    tv-extract b m | combine >deltas.tvs
    refused_with "b is an input of this run" pack --force --base b b <deltas.tvs
    refused_with "b/model.safetensors is an input of this run" \
        pack --force --base b b/model.safetensors <deltas.tvs
    mkdir parent
    mv b parent
    refused_with "parent is an input of this run" pack --force --base parent/b parent <deltas.tvs
    mv parent/b .
    pack --base b packed.tar <deltas.tvs
    not pack --force --onto packed.tar packed.tar <deltas.tvs 2>said
    grep "packed.tar is an input of this run" said
    ln -s b linked
    refused_with "b is an input of this run" pack --force --base linked b <deltas.tvs
    for line in 'unpack m | pack --like b --force m' 'tv-extract b m | combine | pack --base b --force m' \
        'unpack m | cat | pack --like b --force m'; do
        REFUSED_BY=pack refused_with "an input of this run" tv run "$line"
        REFUSED_BY=pack refused_with "an input of this run" bash -o pipefail -c "$line"
    done
    diff -r base b && diff -r base m
    # a copy is no input where the run itself opens the models
    cp -r m copy
    tv run 'unpack m | pack --like b --force copy'
    # a link is replaced, and not what it points to
    pack --force --base b linked <deltas.tvs
    [ ! -L linked ] && diff -r base b
    tv run 'unpack m | pack --like b --part 1/1 parts'
    cp -r m parts
    REFUSED_BY=tv refused_with "parts has the fingerprint of m" tv finish --force parts
}

# keeps PATH TEXT COMMAND...: the command is refused with TEXT, and every file at PATH stays as it is
keeps() {
    rm -rf .kept
    cp -a "$1" .kept
    refused_with "$2" "${@:3}" && diff -r --no-dereference .kept "$1"
}

@test "--force replaces checkpoints and nothing else" {
    mkdir photos plain
    echo jpeg >photos/scan.bin
    echo '{}' >plain/config.json
    keeps photos "photos contains scan.bin, which is no file of a checkpoint" pack --force --base base photos <good.tvs
    keeps plain "plain is not a checkpoint (it contains no weights)" pack --force --base base plain <good.tvs
    for foreign in .git/HEAD src/main.c thesis.txt samples.jsonl .notes zoo.gguf fifo/; do
        pack --base base out <good.tvs
        mkdir -p "out/$(dirname $foreign)"
        if [ $foreign = fifo/ ]; then mkfifo out/fifo; else echo mine >out/$foreign; fi
        refused_with "out contains ${foreign%%/*}, which is no file of a checkpoint" pack --force --base base out <good.tvs
        [ -p out/fifo ] || grep -q mine out/$foreign
        numbers out
        rm -r out
    done
    pack --base base own <good.tvs # a file that pack copied, and will copy again
    touch base/own_code.py own/own_code.py
    pack --force --base base own <good.tvs
    rm base/own_code.py
    keeps own "own contains own_code.py" pack --force --base base own <good.tvs
    for file in text.safetensors text.tar text.yml table saved; do
        echo 'merge_method: ties' >$file
        [ $file != saved ] || cp good.tvs saved
        keeps $file "$file is not a checkpoint (neither a valid weight file nor an archive of a model)" \
            pack --force --base base $file <good.tvs
    done
    head -c 100 base/model.safetensors >cut.safetensors
    keeps cut.safetensors "is not a checkpoint" pack --force --base base cut.safetensors <good.tvs
    tar cf backup.tar photos plain
    keeps backup.tar "backup.tar is an archive that contains photos/scan.bin" pack --force --base base backup.tar <good.tvs
    for out in out out.safetensors out.tar out.tar.zst; do # its own, an empty one
        pack --base base $out <good.tvs
        pack --force --base base $out <good.tvs
        rm -r $out
        if [ $out = out ]; then mkdir out; else touch $out; fi
        pack --force --base base $out <good.tvs
        unpack $out | check
    done
    tar cf folder.tar base
    pack --force --base base folder.tar <good.tvs
    mkdir hub
    cp base/config.json hub
    cp out/model.safetensors blob
    ln -s ../blob hub/model.safetensors
    touch hub/.gitattributes hub/LICENSE hub/modeling_own.py
    pack --force --base base hub <good.tvs
    [ -s blob ]
}

@test "--force does not destroy a tokenizer, a table or a saved stream that is read" {
    pack --base base L <good.tvs
    rescale 2 <good.tvs >other
    keeps L "L is an input of this run" pack --force --base base --tokenizer L L <other
    keeps L "L/model.safetensors is an input of this run" pack --force --base base --tokenizer L L/model.safetensors <other
    echo 'math=0.5' >rules
    export REFUSED_BY=pack
    keeps rules "rules is an input of this run" tv run 'weigh @rules | combine | pack --force --base base rules' <good.tvs
    cp good.tvs saved
    # shellcheck disable=SC2094
    keeps good.tvs ".tvs is not supported" pack --force --base base good.tvs <good.tvs
    # shellcheck disable=SC2094
    keeps saved "saved is an input of this run" pack --force --base base saved <saved
    keeps other "other is not a checkpoint" \
        bash -o pipefail -c 'join-streams other | combine | pack --force --base base other'
    pack --base base --shard-size 1 sharded <good.tvs # a shard of a model that another process reads
    keeps sharded "has the fingerprint of sharded" bash -o pipefail -c \
        'unpack sharded | pack --force sharded/model-00001-of-00002.safetensors'
}

@test "--force: a slash after OUT means a folder, and no file is replaced by one" {
    cp -r base m
    for target in m/model.safetensors/ m//model.safetensors// ./m/model.safetensors/; do
        keeps m "model.safetensors exists and is not a folder" pack --base base --force $target <good.tvs
        keeps m "model.safetensors exists and is not a folder" pack --base base --part 1/1 --force $target <good.tvs
    done
    echo mine >notes
    keeps notes "notes exists and is not a folder" pack --base base notes/ <good.tvs
    mkdir out
    pack --base base --force out/ <good.tvs
    pack --base base --force out/ <good.tvs
    numbers out
}

# two_models: the torch file two with the dicts ema and model.state_dict, and one with a single dict
two_models() {
    PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 - "$BATS_TEST_DIRNAME" <<'END'
import sys
sys.path.insert(0, sys.argv[1])
import models, numpy
weights = {"w": numpy.ones((2, 3), "f4"), "x": numpy.zeros(2, "f4")}
models.save_torch("one", weights)
models.save_torch("two", {"model": {"state_dict": weights}, "ema": weights, "step": 5})
models.save_torch("more", dict(weights, notes="mine"))
END
}

@test "--force does not destroy a model of which a pipe reads a part, or that is one of several" {
    export REFUSED_BY=pack
    two_models
    piped() { bash -o pipefail -c "$1"; }
    keeps two "two is not a checkpoint" piped "unpack 'two#ema' | rescale 2 | pack --like base --force two"
    keeps more "more is not a checkpoint" pack --base base --force more <good.tvs
    keeps one "one has the fingerprint of one" piped 'unpack one | rescale 2 | pack --like base --force one'
    pack --base base --shard-size 1 sharded <good.tvs
    pack --base base --force --shard-size 1 sharded <good.tvs
    cp -r base pair
    from-text base.txt | rescale 2 | pack pair/other.safetensors
    keeps pair "pair contains other.safetensors besides model.safetensors" \
        piped 'unpack pair/other.safetensors | pack --like base --force pair'
    pack --base base --shard-size 1 shards <good.tvs
    keeps shards "shards has the fingerprint of model-00002-of-00002" \
        piped 'unpack shards/model-00002-of-00002.safetensors | pack --like base --force shards'
    rm shards/model-00001-of-00002.safetensors
    keeps shards "model-00001-of-00002.safetensors is missing" pack --base base --force shards <good.tvs
    keeps base "base has the fingerprint of" \
        piped 'add-base base <good.tvs | pack --like two#ema --force base'
}

@test "--force reads what it replaces to its end" {
    export REFUSED_BY=pack
    local gguf=$GOLDEN/quantised/gguf/models/qwen2-q8_0/model.gguf
    two_models
    /usr/bin/python3 - <<'END'
import numpy, shutil, zipfile
numpy.savez("arrays", w=numpy.ones((2, 3), "f4"), x=numpy.zeros(2, "f4"))
def add(source, name, record):
    shutil.copy(source, name) if source else None
    with zipfile.ZipFile(name, "a") as z:
        z.writestr(record, "mine")
add(None, "foreign1", "archive/data.pkl")
add("one", "foreign2", "archive/notes.txt")
add("arrays.npz", "foreign3", "notes.npy")
add(None, "foreign4", "notes.npy")
END
    printf 'GGUF\3\0\0\0my notes, my notes, my notes' >foreign5
    head -c 3000 "$gguf" >foreign6
    (cat "$gguf" && echo mine) >foreign7
    (cat one && echo mine) >foreign8
    pack --base base own.tar <good.tvs
    echo mine >notes
    tar cf notes.tar notes
    (cat own.tar && echo mine) >foreign9
    cat own.tar notes.tar >foreign10
    (gzip -c own.tar && gzip -c notes.tar) >foreign11
    (gzip -c own.tar && echo mine) >foreign12
    (xz -c own.tar && xz -c notes) >foreign13
    head -c -1024 own.tar >foreign14
    python3 -m zipfile -c foreign15 base/config.json base/model.safetensors
    for file in foreign*; do
        keeps "$file" "$file is " tv run "pack --base base --force $file" <good.tvs
    done
    gzip -c own.tar >own.gz
    xz -c own.tar >own.xz
    cp "$gguf" own.gguf
    for file in one arrays.npz own.gguf own.gz own.xz; do
        mv $file replaced
        pack --base base --force replaced <good.tvs
        numbers replaced
        rm -r replaced
    done
}

@test "what appears in the target while pack works is not destroyed" {
    pack --base base out <good.tvs
    appears() {
        (head -c 400 good.tvs && while ! compgen -G ".out.partial-*/model/*" >.err; do sleep 0.05; done &&
            echo mine >out/thesis.txt && tail -c +401 good.tvs) | pack --force --base base out
    }
    REFUSED_BY=pack refused_with "out contains thesis.txt" appears
    grep -q mine out/thesis.txt
    numbers out
    not compgen -G ".out.*"
}

@test "a target that becomes an input while pack works is not replaced" {
    pack --base base expert <good.tvs
    tv-extract base expert >deltas.tvs
    cp -r expert kept
    appears() {
        (head -c -40 deltas.tvs && while ! compgen -G ".out.partial-*/model/*" >.err; do sleep 0.05; done &&
            mv expert out && tail -c 40 deltas.tvs) | timeout 60 pack --force --base base out
    }
    not appears 2>said
    grep -q '^pack: out has the fingerprint of expert' said
    diff -r kept out
    not compgen -G ".out.*"
}

@test "--force does not destroy statistics, tables or samples that another process reads" {
    pack --base base math <good.tvs
    tv-extract base math >deltas.tvs
    export REFUSED_BY=pack
    printf 'kind weights\nmodel m\ntensor w 2x3\nvector m\n1 2 1\n1 1 1\ntensor x 2\nvector m\n1 2\n' | from-text |
        pack diagonal.safetensors
    keeps diagonal.safetensors "diagonal.safetensors has the fingerprint of" bash -o pipefail -c \
        'fisher --diagonal math=diagonal.safetensors <deltas.tvs | pack --base base --force diagonal.safetensors'
    printf 'tensor\tmodel\tchunk\tvalue\nw\tmath\t0\t0.5\nx\tmath\t0\t0.5\n' >table
    rescale 3 <good.tvs | pack --base base old
    mv table old/LICENSE
    keeps old "old contains LICENSE, an input of this run" bash -o pipefail -c \
        'weigh --table old/LICENSE <deltas.tvs | combine | pack --base base --force old'
}

@test "packs with the same target replace it one after another" {
    for out in out out.safetensors; do
        pids=()
        for i in 1 2 3 4 5 6; do
            rescale $i <good.tvs | pack --force --base base $out &
            pids+=($!)
        done
        for pid in "${pids[@]}"; do
            wait "$pid"
        done
        unpack $out | check
        not compgen -G ".$out.*"
    done
}

@test "a pipe or a device is never replaced" {
    mkfifo out
    for force in "" --force; do
        # shellcheck disable=SC2086 # no word without --force
        refused_with "out is a pipe, a socket or a device, which is never replaced; write to another OUT" \
            pack --base base $force out <good.tvs
    done
    [ -p out ]
}

@test "a link to a descriptor is never replaced, by any name" {
    ln -s /proc/self/fd/1 out
    ln -s "$PWD/out" again
    ln -s /dev/fd/9 closed
    ln -s /proc/thread-self/fd/1 thread
    for target in out again closed thread; do
        for force in "" --force; do
            # shellcheck disable=SC2086
            refused_with "$target is a link to a descriptor, which is never replaced" \
                pack --base base $force $target <good.tvs
        done
        [ -L "$target" ]
    done
}

@test "same bytes however it is run" {
    pick math <"$BIG" >math.tvs
    pack --base "$MODELS"/base once <math.tvs
    pack --base "$MODELS"/base repeated <math.tvs
    # shellcheck disable=SC2002
    cat math.tvs | pack --base "$MODELS"/base --memory 64K piped
    pack --base "$MODELS"/base --threads 4 threads <math.tvs
    pick math <"$BIG" | pack --base "$MODELS"/base - | tar -x -C "$(mkdir unpacked && echo unpacked)"
    for other in repeated piped threads; do
        diff -r once "$other"
    done
    cmp once/model.safetensors threads/model.safetensors
    tv-diff --same-dtype once unpacked
}

@test "refuses bad streams and publishes nothing" {
    refuses_bad_streams pack --base base out
    refuses_bad_streams pack --base base out.safetensors
    refuses_bad_streams pack --base base out.tar
    unpack base >weights.tvs
    GOOD=weights.tvs refuses_bad_streams pack --like base out
}

@test "refuses NaN, in the stream and in the sum" {
    lesson | sed 's/^0 0.25 3$/0 nan 3/' | from-text --allow-nonfinite | pick --allow-nonfinite math >nan.tvs
    refused_with "tensor w of math has a non-finite number at flat index 4" \
        pack --base base out <nan.tvs
    pack --allow-nonfinite --base base out <nan.tvs
    lesson | sed 's/^0 0.25 3$/0 70000 3/' | from-text | pick math >large.tvs
    refused_with "tensor w overflows F16 at flat index 4" \
        pack --base base --dtype float16 none <large.tvs
}

@test "a full disk, and a reader of the archive that exits" {
    REFUSED_BY=pack refused_with "No space left" to_full
    mkfifo pipe
    true <pipe &
    exec 7>pipe
    wait $!
    REFUSED_BY=pack refused_with "cannot write standard output" to_nobody
}

to_nobody() { pack --base base - <good.tvs >&7; }
to_full() { pack --base base - <good.tvs >/dev/full; }

@test "a killed writer before it leaves nothing" {
    refused pack --base base out < <(head -c 350 good.tvs && kill -KILL $BASHPID)
    [ ! -e out ]
}

@test "pack killed leaves no target" {
    mkfifo pipe
    pack --base base out <pipe &
    pid=$!
    exec 7>pipe
    head -c 400 good.tvs >&7
    sleep 0.1
    kill -KILL $pid
    exec 7>&-
    wait $pid || true
    [ ! -e out ]
}

# interrupted: pack with the target out, killed by the kernel while it reads the stream
interrupted() {
    [ -p pipe ] || mkfifo pipe
    pack --base base "$1" <pipe &
    pid=$!
    exec 7>pipe
    head -c 400 good.tvs >&7
    for _ in {1..100}; do
        compgen -G ".$1.partial-*/model/*" >/dev/null && break
        sleep 0.05
    done
    kill -KILL $pid
    exec 7>&-
    wait $pid || true
}

@test "what a killed pack left is removed by the next one, and nothing else is" {
    for out in out out.safetensors out.tar; do
        interrupted $out
        compgen -G ".$out.partial-*"
        mkdir .$out.partial-backup .$out.partial-copied victim
        echo mine >.$out.partial-backup/notes
        echo mine >victim/notes
        mkdir .$out.partial-copied/model
        cp .$out.partial-*/manifest .$out.partial-copied
        echo mine >.$out.partial-copied/model/notes
        ln -s "$PWD/victim" .$out.partial-linked
        pack --base base $out <good.tvs
        [ "$(echo .$out.partial-*)" = ".$out.partial-backup .$out.partial-copied .$out.partial-linked" ]
        [ -e .$out.partial-backup/notes ] && [ -e .$out.partial-copied/model/notes ] && [ -e victim/notes ]
        rm -r .$out.partial-* victim
    done
}

@test "what another pack is writing is not removed" {
    mkfifo pipe
    pack --base base out <pipe &
    pid=$!
    exec 7>pipe
    head -c 400 good.tvs >&7
    for _ in {1..100}; do
        compgen -G ".out.partial-*/model/*" >/dev/null && break
        sleep 0.05
    done
    pack --base base --force out <good.tvs
    tail -c +401 good.tvs >&7
    exec 7>&-
    not wait $pid # out exists now
    numbers out
    not compgen -G ".out.*"
}

@test "every signal that ends pack removes what it was writing" {
    [[ ${BUILD:-build} != *-san* ]] || skip "the sanitizers handle signals themselves"
    mkfifo pipe
    for signal in QUIT USR1 ALRM XCPU ABRT SEGV RTMIN; do
        # a background job may have been told to ignore QUIT
        (ulimit -c 0 && exec env --default-signal pack --base base out) <pipe &
        pid=$!
        exec 7>pipe
        head -c 400 good.tvs >&7
        for _ in {1..100}; do
            compgen -G ".out.partial-*/model/*" >/dev/null && break
            sleep 0.05
        done
        kill -$signal $pid
        not wait $pid
        exec 7>&-
        not compgen -G ".out.*"
    done
}

# a model of 16 MB that is cut while pack reads it
@test "an input that is cut while it is read, and no memory: nothing is left" {
    /usr/bin/python3 - <<'END'
import json, os, struct
os.mkdir("big")
header = json.dumps({"w": {"dtype": "F32", "shape": [4096, 1024], "data_offsets": [0, 1 << 24]}}).encode()
with open("big/model.safetensors", "wb") as f:
    f.write(struct.pack("<Q", len(header)) + header + b"\x3e" * (1 << 24))
open("big/config.json", "w").write("{}")
END
    cp -r big other
    tv-extract big other | combine >deltas.tvs
    cut() {
        (head -c 1000000 deltas.tvs && sleep 0.3 && truncate -s 4096 big/model.safetensors &&
            tail -c +1000001 deltas.tvs) | pack --base big out
    }
    REFUSED_BY=pack refused_with "truncated" cut
    cp other/model.safetensors big
    without_memory() { (ulimit -v 100000 && exec tv run 'tv-extract --threads 1 big other | calibrate --base big | pack --base big out'); }
    not without_memory 2>/dev/null
    not compgen -G ".out.*"
}

@test "after an input was cut, a filter ends its stream with an error record" {
    /usr/bin/python3 - <<'END'
import json, os, struct
header = json.dumps({"w": {"dtype": "F32", "shape": [8192, 1024], "data_offsets": [0, 1 << 25]}}).encode()
with open("big.safetensors", "wb") as f:
    f.write(struct.pack("<Q", len(header)) + header + b"\x3e" * (1 << 25))
END
    mkfifo pipe
    unpack big.safetensors 2>said >pipe &
    pid=$!
    exec 7<pipe
    head -c 3000000 <&7 >first
    truncate -s 4096 big.safetensors
    cat <&7 >rest
    exec 7<&-
    not wait $pid
    [ "$(wc -l <said)" = 1 ]
    cat first rest >stream
    tail -c 300 stream | LC_ALL=C grep -qa 'record.error'
    # shellcheck disable=SC2002
    not eval 'cat stream | rescale 1 2>again >passed'
    [ ! -s again ]
}

@test "a target whose name is too long is refused at once" {
    long=$(printf 'x%.0s' {1..256})
    refused_with "is too long" pack --base base "$long" < <(head -c 300 good.tvs)
    refused_with "is too long for a merge in parts" pack --base base --resume "${long:6}" < <(head -c 300 good.tvs)
    pack --base base "${long:1}" <good.tvs
}

@test "a target that is a link is replaced, and what it points to stays" {
    pack --base base real <good.tvs
    cp -r real before
    ln -s real out
    refused_with "out exists already" pack --base base out <good.tvs
    pack --base base --force out <good.tvs
    [ ! -L out ]
    diff -r before real
}

@test "a report follows no link, and is refused at once where it cannot be written" {
    run_with_report() { tv run --report "$1" "tv-extract base m=base | pack --base base $2"; }
    echo precious >victim
    ln -s victim report.json
    run_with_report report.json out
    [ "$(cat victim)" = precious ] && [ ! -L report.json ]
    not compgen -G ".report.json*" && not compgen -G "report.json.*"
    mkdir folder
    REFUSED_BY=tv refused_with "cannot write folder: Is a directory" run_with_report folder out2
    run_with_report /dev/stdout out3 | grep -c '"seconds"'
}

@test "modes of what is published follow the umask" {
    for mask in 022 027 002; do
        (umask $mask && pack --base base --force out <good.tvs && pack --base base --force one.safetensors <good.tvs)
        [ "$(stat -c %a out)" = "$(printf %o $((0777 & ~0$mask)))" ]
        for file in out/* one.safetensors; do
            [ "$(stat -c %a $file)" = "$(printf %o $((0666 & ~0$mask)))" ]
        done
    done
}

@test "refuses weights other than 1, several vectors, and the wrong kind" {
    weigh 0.5 <good.tvs >weighed.tvs
    refused_with "has a weight other than 1; put combine before pack" pack --base base out <weighed.tvs
    lesson | from-text >two.tvs
    refused_with "tensor w has 2 vectors, but a checkpoint has one; put combine before pack" \
        pack --base base out <two.tvs
    refused_with "--like is for weights" pack --like base out <good.tvs
    refused_with "use --base to add them to their base" pack out <good.tvs
    unpack base >weights.tvs
    refused_with "--base is for task vectors" pack --base base out <weights.tvs
    refused_with "use --like to copy config and tokenizer" pack out <weights.tvs
    usage_error_with "only one of" pack --base base --like base out
}

@test "refuses a base other than the one subtracted; --onto accepts it" {
    cp -r base other
    from-text base.txt | rescale 2 | pack --force other/model.safetensors
    tv-extract base other >deltas.tvs
    refused_with "other" pack --base other out <deltas.tvs
    pack --onto other out <deltas.tvs
    numbers m=out | grep '^[0-9]' >found
    printf '3 6 9\n12 15 18\n21 24\n' | diff -u - found
}

@test "refuses a base that does not match, before the first payload" {
    head -c 250 good.tvs >cut.tvs
    printf 'kind weights\nmodel b\ntensor w 3x2\nvector b\n1 2\n3 4\n5 6\n' | from-text | pack s.safetensors
    refused_with "tensor w is (2, 3) in the stream but (3, 2) in s" pack --base s.safetensors o.safetensors <cut.tvs
    printf 'kind weights\nmodel b\ntensor v 1\nvector b\n1\n' | from-text | pack v.safetensors
    refused_with "has no tensor w" pack --base v.safetensors o.safetensors <cut.tvs
    mkdir full
    touch full/file
    refused_with "full" pack --base base full <cut.tvs
    refused_with "cannot open folder good.tvs" pack --base base good.tvs/out <cut.tvs
}

@test "usage" {
    usage_error pack
    usage_error pack --base base a b
    for out in '' . a/.. /; do
        usage_error_with "\"$out\" is not a valid name for a checkpoint" pack --base base "$out"
        REFUSED_BY=pack usage_error_with "is not a valid name" tv run "unpack base | pack --like base '$out'"
    done
    usage_error_with ".npz is not supported" pack --base base out.npz
    usage_error pack --dtype int8 --base base out
    usage_error pack --shard-size much --base base out
    usage_error_with "at least 1" pack --shard-size 0 --base base out
}

@test "tensors copied from the base are rounded to the sources' --dtype too" {
    printf '%s\n' 'kind weights' 'model base' 'tensor w 2' 'vector base BF16' '1 2' 'tensor x 2' \
        'vector base BF16' '3 4' | from-text | pack two.safetensors
    tv-extract --dtype float32 two.safetensors m=two.safetensors | pick /w | pack --base two.safetensors full.safetensors
    unpack full.safetensors | tv-view --values | grep -c 'stored=F32' | grep -cx 2
    printf '%s\n' 'kind weights' 'model base' 'tensor w 2' 'vector base' '1 2' 'tensor x 2' 'vector base' '1.001 4' |
        from-text | pack fine.safetensors
    tv-extract --dtype bfloat16 fine.safetensors m=fine.safetensors | pick /w |
        pack --dtype float32 --base fine.safetensors full2.safetensors
    unpack full2.safetensors | pick /x | tensors | tail -1 | diff - <(echo '1 4')
}

# metadata FILE KEY: a value of a safetensors file's metadata
metadata() {
    /usr/bin/python3 -c '
import json, struct, sys
f = open(sys.argv[1], "rb")
header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
print(header["__metadata__"].get(sys.argv[2], "missing").strip())' "$1" "$2"
}

@test "the weights that a join applied are in the checkpoint, whatever its form" {
    lesson | from-text >two.tvs
    first='{"weights":{"math":0.10000000000000001,"code":-2.0}}'
    weigh math=0.1 code=-2 <two.tvs | combine >same.tvs
    printf 'w\tmath\t0\t0.3\nw\tmath\t1\t1e-300\nw\tcode\t0\t1\n' >table
    chunks='{"weights":{"m1":{"weight":0.5,"weights":{"math":[0.29999999999999999,1e-300],"code":1.0}}}}'
    weigh --table table <two.tvs | combine --name m1 | weigh 0.5 | combine >chunks.tvs
    combine <two.tvs >plain.tvs
    for s in same chunks plain; do
        for out in "$s" "$s.tar" "$s.safetensors"; do pack --base base "$out" <$s.tvs; done
        mkdir "$s.unpacked"
        tar -xf "$s.tar" -C "$s.unpacked"
        tv-diff $s $s.safetensors
        tv-diff $s $s.unpacked
        grep -o '^|.*' $s/README.md >$s.card
    done
    [ "$(cat same/tvtools_weights.json)" = "$first" ]
    [ "$(cat same.unpacked/tvtools_weights.json)" = "$first" ]
    [ "$(metadata same.safetensors tvtools_weights)" = "$first" ]
    [ "$(cat chunks/tvtools_weights.json)" = "$chunks" ]
    [ "$(metadata chunks.safetensors tvtools_weights)" = "$chunks" ]
    [ ! -e plain/tvtools_weights.json ] && [ ! -e plain.unpacked/tvtools_weights.json ]
    [ "$(metadata plain.safetensors tvtools_weights)" = '{}' ]
    grep -F '| `math` | 0.15 | 1e-300 | 0.3 |' chunks.card
    grep -F '| `m1` | 0.5 | 0.5 | 0.5 |' chunks.card
    [ "$(grep -c math plain.card)" = 1 ]
    # The file belongs to this checkpoint, and is not copied to another.
    unpack same | pack --like same copy
    [ -e copy/config.json ] && [ ! -e copy/tvtools_weights.json ]
    # Tensors are listed if their weights differ, but not those of the base.
    lesson >three.txt
    printf 'tensor x 2\nvector math BF16\n7 8\nvector code\n0 0\n' >>three.txt
    from-text three.txt | weigh 0.5 /x=1 | combine | pack --base base differ
    [ "$(cat differ/tvtools_weights.json)" = \
        '{"tensors":{"w":{"math":0.5,"code":0.5},"x":{}}}' ]
}

@test "the metadata identify the models" {
    lesson | sed 's/^model math.*/& fingerprint=00000000000000ff hub=org\/math commit=0123abc/' | from-text |
        combine >good.tvs
    pack --onto base out.safetensors <good.tvs
    [ "$(metadata out.safetensors tvtools_models)" = \
        '{"base":{"role":"base"},"math":{"role":"expert","fingerprint":"00000000000000ff","hub":"org/math","commit":"0123abc"},"code":{"role":"expert"}}' ]
    unpack base | tv-view --json >base.json
    [ "$(metadata out.safetensors tvtools_onto)" = \
        "{\"base\":{\"fingerprint\":\"$(grep -o 'fingerprint": "[0-9a-f]*' base.json | cut -d'"' -f3)\"}}" ]
    pack --base base out <good.tvs
    [ "$(metadata out/model.safetensors tvtools_onto)" = missing ]
    grep -Fx -- '- "org/math"' out/README.md
    grep -F '`org/math`, commit `0123abc`' out/README.md
}

@test "- --format safetensors: one file on standard output, in the order of the stream" {
    from-text >s.tv <<'END'
kind weights
model m
tensor b 3
vector m BF16
1 2 3
tensor a 2
vector m BF16
4 5
END
    pack - --format safetensors <s.tv >m.safetensors
    tv-diff m.safetensors <(pack x.safetensors <s.tv && unpack x.safetensors)
    head -c 300 m.safetensors | grep -ao '"b":.*"a":' # the data in that order
    run ! grep -a tvtools_hashes m.safetensors
    grep -aq tvtools_hashes x.safetensors
    run -2 --separate-stderr pack --format safetensors
    run -2 --separate-stderr pack y.safetensors --format safetensors <s.tv
    [ "$stderr" = "pack: --format is for standard output (-); y.safetensors has the format of its ending" ]
    printf 'kind weights\nmodel m\ntensor b 3\nvector m BF16\n1 2 3\ntensor c 1\nvector m F32\n1\n' |
        from-text >s.tv
    run -1 --separate-stderr pack - --format safetensors <s.tv
    [ "$stderr" = "pack: tensor c would begin at byte 6 of the data, where F32 is not aligned; write \
to a file, or choose one --dtype" ]
    pack - --format safetensors --dtype float32 <s.tv | unpack - | tv-diff - s.tv
    pack - --format safetensors --dtype float32 <s.tv >m
    run -1 --separate-stderr unpack - < <(head -c 200 m)
    [[ $stderr == "unpack: standard input"* ]]
}
