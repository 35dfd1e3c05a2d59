#!/usr/bin/env bats
# The promises of SECURITY.md that no other file tests, and that all tests it names exist.
load common
load lesson
load refusals

@test "every test that SECURITY.md names exists" {
    local file name n=0 lacking=
    while IFS=$'\t' read -r file name; do
        n=$((n + 1))
        case $file in
        *.bats) grep -qF "@test \"$name\" {" "$ROOT/$file" ;;
        *.c) grep -q "^static void $name(" "$ROOT/$file" ;;
        *.py) grep -q "[^a-z]\"$name\"" "$ROOT/$file" ;;
        esac || lacking+=" [$file: $name]"
    done < <(sed -n 's/^- `\(tests\/[^`]*\)`: \(.*\)/\1\t\2/p' "$ROOT/SECURITY.md")
    [ -z "$lacking" ] || { echo "missing:$lacking" && false; }
    [ "$n" -ge 40 ]
    # A promise without a test is none.
    awk '/^## / { promises = $2 == "Promises" } /^### / { if (title && !tests) { print title; bad = 1 }
        title = promises ? $0 : ""; tests = 0 } /^- `tests/ { tests++ }
        /^## Not/ && title && !tests { print title; bad = 1 } END { exit bad }' "$ROOT/SECURITY.md"
}

@test "names in a configuration are words, not commands" {
    local names=('a;touch ran' '$(touch ran)' '`touch ran`' "q'touch ran" 'x|touch ran' '<(touch ran)'
        $'n\ntouch ran' '&touch ran' '>ran' '-rf' '--spool' 'sp ace' '{a,b}' '[0,1]' '~root' '#c' '%s%n' 'k=v'
        '"dq"' 'back\slash' $'e\e[2J' '0.5')
    printf 'kind weights\nmodel m\ntensor w 2\nvector m\n1 2\n' | from-text | pack m.safetensors
    mkdir m
    mv m.safetensors m/model.safetensors
    echo '{}' >m/config.json
    /usr/bin/python3 - "${names[@]}" >config.yml <<'END'
import json, os, sys
for name in sys.argv[1:]:
    os.symlink("m", name)
models = [{"model": name if name[0] == "-" else "./" + name, "parameters": {"weight": 1}}
          for name in sys.argv[1:]]
print(json.dumps({"merge_method": "linear", "models": models}))
END
    tv merge config.yml out
    tv from-yaml config.yml >script
    bash script
    diff -r out merged
    [ ! -e ran ]
    grep -c $'\e' script out/README.md >found || true
    [ "$(cat found)" = $'script:0\nout/README.md:0' ]
}

@test "no program can connect to a network" {
    command -v nm >/dev/null || skip "nm is not installed"
    for program in "$ROOT/${BUILD:-build}"/bin/*; do
        ! nm -D --undefined-only "$program" | grep -E ' (socket|connect|getaddrinfo|gethostby[a-z]*)(@|$)' || false
    done
}

@test "archives that claim, or hold, more than there is room for" {
    export REFUSED_BY=unpack
    /usr/bin/python3 - <<'END'
import tarfile, zipfile
info = tarfile.TarInfo("m/model.safetensors")
info.size = 1 << 60
with open("claims.tar", "wb") as f:
    f.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(512))
with zipfile.ZipFile("holds.zip", "w", zipfile.ZIP_DEFLATED) as z:
    z.writestr("m/model.safetensors", bytes(32 << 20))
END
    mkdir spool
    refused_with "needs 1152921504606846976 bytes" unpack --spool spool claims.tar
    ulimit -f 8000
    refused_with "cannot unpack holds.zip to a temporary file" unpack --spool spool holds.zip
    [ -z "$(ls -A spool)" ]
}

@test "a target with several names keeps the others" {
    printf 'kind weights\nmodel m\ntensor w 2\nvector m\n1 2\n' | from-text >old.tvs
    rescale 2 <old.tvs >new.tvs
    pack out.safetensors <old.tvs
    ln out.safetensors other
    cp out.safetensors copy
    pack --force out.safetensors <new.tvs
    cmp other copy
    not cmp -s out.safetensors copy
}

@test "tables, gradients, logs and states follow no link" {
    local models=$GOLDEN/models/grad/mistral
    tv-extract "$models/base" "$models/expert1" >one.tvs
    echo '{"task": "expert1", "input_ids": [1, 5, 9, 2, 7], "prompt_len": 2}' >samples
    learn() { calibrate --base "$models/base" --samples samples --threads 1 "$@" <one.tvs >out.tvs; }
    echo precious >victim
    for option in coefficients gradients; do # replaced
        ln -s victim link
        learn --dry-run --$option link
        [ ! -L link ] && [ -s link ]
        rm link
    done
    ln -s victim link
    REFUSED_BY=calibrate refused_with "cannot write link" learn --dry-run --log link
    REFUSED_BY=calibrate refused_with "link" learn --epochs 1 --resume link
    [ "$(cat victim)" = precious ]
}
