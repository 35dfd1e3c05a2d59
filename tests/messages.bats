#!/usr/bin/env bats
# What all programs have in common: exit statuses, and the form of notes and warnings.
load common
load lesson
load refusals

setup() {
    own_folder
    make_good
}

@test "exit statuses are those of the table in tvtools(7)" {
    weigh 2 <good.tvs >weighed.tvs
    lesson | sed 's/^0 0.25 3$/0 nan 3/' | from-text --allow-nonfinite >nan.tvs
    cp -r "$A"/{base,math} .
    tv-extract base math | combine | pack --base base merged.safetensors
    cp merged.safetensors changed.safetensors
    printf '\x01' | dd of=changed.safetensors bs=1 conv=notrunc seek=$(($(stat -c %s merged.safetensors) - 1)) status=none
    while IFS='|' read -r status command; do
        # shellcheck disable=SC2086 # words
        eval "exits $status $command" || return 1
    done <<'END'
0|tv-view good.tvs
1|tv-view missing.tvs
2|tv-view --values --json good.tvs
0|stats good.tvs
1|stats missing.tvs
2|stats --csv
0|unpack base
1|unpack missing
2|unpack
1|pack --base base new
2|pack
0|check good.tvs
1|check nan.tvs
1|check missing.tvs
2|check a b
0|tv-diff good.tvs good.tvs
1|tv-diff good.tvs weighed.tvs
2|tv-diff good.tvs missing.tvs
2|tv-diff good.tvs
0|tv verify merged.safetensors base math
1|tv verify changed.safetensors base math
2|tv verify base
2|tv verify
1|tv merge missing.yml out
2|tv merge
2|tv nosuch
0|tv check good.tvs
1|tv check nan.tvs
0|tv run 'check good.tvs'
1|tv run 'check nan.tvs'
2|tv run 'tv-diff good.tvs missing.tvs'
2|tv run 'check a b'
2|tv run
127|tv run 'unpack base | no-such-command'
END
}

@test "a stage whose reader has exited is ended by SIGPIPE" {
    make_big
    set +o pipefail
    statuses=$(tv-extract "$MODELS"/base "$MODELS"/math 2>.err | true; echo "${PIPESTATUS[0]}")
    set -o pipefail
    [ "$statuses" = 141 ] && [ ! -s .err ]
}

@test "the sources print notes and warnings only in one form" {
    not grep -rnE --include='*.c' --exclude=printable.c '"[^"]*(note|warning): ' "$ROOT/lib" "$ROOT/filters"
}

@test "--quiet omits notes; warnings and errors stay" {
    tar -C "$A" -cf - base | gzip >model.tar.gz
    tv-extract "$A/math" model.tar.gz 2>err | combine >full.tvs
    [[ $(<err) = "tv-extract: note: "* ]]
    tv-extract --quiet "$A/math" model.tar.gz 2>err | combine | tv-diff - full.tvs
    [ ! -s err ]
    tv run --quiet "tv-extract $A/math model.tar.gz | check" 2>err
    [ ! -s err ]
    tv run "tv-extract $A/math model.tar.gz | check --quiet" 2>err
    [ ! -s err ]
    tv run "tv-extract $A/math model.tar.gz | check" 2>err
    [[ $(<err) = "tv-extract: note: "* ]]
    trim --quiet --density 0.5 --density '/none*=0.1' <good.tvs 2>err | combine >none.tvs
    [[ $(<err) = "trim: warning: "*" matches no tensor" ]]
    not check --quiet nowhere 2>err
    [[ $(<err) = "check: nowhere is not a file"* ]]
    printf '%s\n' 'merge_method: linear' "models: [{model: $A/base, parameters: {weight: 1}}]" >config.yml
    tv merge --cuda config.yml one 2>err
    [ "$(<err)" = "tv merge: note: --cuda has no effect here" ]
    tv merge --cuda --quiet config.yml two 2>err
    [ ! -s err ]
}

@test "every filter has --quiet" {
    for f in "$ROOT"/filters/*.c; do
        f=$(basename -s .c "$f")
        [ "$f" = tv ] || "$f" --help | grep -c -- '^ *--quiet ' || wrong "$f" || return 1
    done
}
