#!/usr/bin/env bats
# The man pages have the options of --help, their examples run, and completion works.

load common
load lesson

MAN=$ROOT/share/man
COMPLETIONS=$ROOT/share/completions

filters() {
    basename -s .c "$ROOT"/filters/*.c
}

# Options as words, --density=D, sorted: those of --help ...
help_options() {
    { "$1" --help && { [ "$1" != tv ] || tv run --help; }; } |
        sed -n 's/^ \{2,6\}\(-., \)\{0,1\}\(--[^ ]*\).*/\2/p' | sort -u
}

# ... and those of the page.
page_options() {
    sed -n '/^\.Sh OPTIONS/,/^\.Sh EXIT/s/^\.It \(Fl .* , \)\{0,1\}Fl /-/p' "$MAN/$1.1" |
        sed 's/ \(Ns\|Ar\|Cm\)\>//g; s/ //g' | sort -u
}

# The examples of a page as files example1, example2, ...
page_examples() {
    awk '/^\.Sh / { on = $2 == "EXAMPLES" }
         on && /^\.Ed/ { out = "" }
         out { print > out }
         on && /^\.Bd -literal/ { out = "example" ++n }' "$1"
    sed -i 's/\\(aq/'\''/g; s/\\(ga/`/g; s/\\(ti/~/g; s/\\(ha/^/g; s/\\-/-/g; s/\\e/\\/g; s/^\\&//' example*
}

@test "every filter has a page with the options of --help" {
    wrong=
    for f in $(filters); do
        if [ ! -f "$MAN/$f.1" ]; then
            wrong+="$f has no page"$'\n'
        elif ! difference=$(diff <(help_options "$f") <(page_options "$f")); then
            wrong+="$f: --help (<) and page (>) differ: $difference"$'\n'
        fi
    done
    [ -z "$wrong" ] || fail "$wrong"
}

@test "every page is of a filter and has its name" {
    for page in "$MAN"/*.1; do
        name=$(basename "$page" .1)
        case $name in tv-merge | tv-extract-lora | tv-moe | tv-from-yaml | tv-finish | tv-verify | tv-tune) continue ;; esac # commands of tv
        [ -f "$ROOT/filters/$name.c" ] || fail "$name is no filter"
        grep -qx "\.Nm $name" "$page" || fail "$name.1 has another name"
    done
}

@test "the summary of every filter is one line with a capital and no full stop" {
    tv --help | sed -n 's/^    \([a-z][^ ]*\)  *\(.*\)/\1\t\2/p' > summaries
    for f in $(filters); do
        [ "$f" = tv ] || grep -c "^$f"$'\t'"[A-Z].*[^.]$" summaries || fail "$f: $(grep "^$f"$'\t' summaries)"
    done
}

@test "the overview, README and tests list all filters" {
    lacking=
    for f in $(filters); do
        grep -q "^\.\(It \)\{0,1\}Xr $f 1" "$MAN/tvtools.7" || lacking+=" $f in tvtools.7"
        [ "$f" = tv ] || grep -c "^|.*\`${f}[\` ]" "$ROOT/README.md" || lacking+=" $f in README.md"
        [ -f "$TESTS/$f.bats" ] || lacking+=" $f in tests"
    done
    [ -z "$lacking" ] || fail "missing:$lacking"
}

@test "cross references lead to pages" {
    sed -n 's/^\.\(It \)\{0,1\}Xr \([^ ]*\) \([157]\).*/\2.\3/p' "$MAN"/* | sort -u > pages
    while read -r page; do
        case $page in awk.1 | head.1 | tee.1) continue ;; esac
        [ -f "$MAN/$page" ] || fail "there is no $page"
    done < pages
}

@test "mandoc -T lint accepts the pages" {
    command -v mandoc > /dev/null || skip "mandoc is not installed"
    mandoc -T lint -W warning "$MAN"/*
}

# A base, a full model and adapters in place of the full models.
make_adapters() {
    rm base math code chat
    ln -s "$GOLDEN/adapters/models/llama" base
    ln -s "$GOLDEN/adapters/models/llama-full" chat
    ln -s "$GOLDEN/adapters/adapters/plain" math-lora
    ln -s "$GOLDEN/adapters/adapters/dora" code-lora
}

@test "the examples of the pages run" {
    for page in "$MAN"/*; do
        rm -rf "$T/run" && mkdir "$T/run" && cd "$T/run"
        ln -s "$A"/{base,math,code,chat} .
        [ "$(basename "$page")" != tv-rename.1 ] || make_seeing
        [ "$(basename "$page")" != tvtools-adapters.7 ] || make_adapters
        page_examples "$page"
        for e in example*; do
            bash -euo pipefail "$e" > out 2> err || fail "$(basename "$page"), $e: $(cat "$e" err)"
        done
    done
}

# complete WORD...: what bash completes for the last word of the line
complete_words() {
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    local function=_tvtools_filter
    [ "$1" != tv ] || function=_tvtools_tv
    "$function" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
    echo "${COMPREPLY[*]}"
}

@test "bash completes filters, options, choices and files" {
    # shellcheck source=/dev/null
    . "$COMPLETIONS/tvtools.bash"
    touch deltas.tvs
    for f in $(filters); do
        complete -p "$f" || fail "$f has no completion"
    done
    [ "$(complete_words tv tr)" = trim ]
    [ "$(complete_words trim --sc)" = --scope= ]
    [ "$(complete_words trim --scope = m)" = model ]
    [ "$(complete_words tv trim --scope "")" = "tensor model" ]
    [ "$(complete_words pack --dtype=bf)" = --dtype=bfloat16 ]
    [ "$(complete_words stats --by = m)" = "mean max_abs min max" ]
    [ "$(complete_words stats del)" = deltas.tvs ]
    [ "$(complete_words unpack name = del)" = deltas.tvs ]
    [ "$(complete_words regmean --gram math = del)" = deltas.tvs ]
    [ "$(complete_words trim del)" = "" ]
    [ "$(complete_words tv run --th)" = --threads= ]
    [ "$(complete_words tv fr)" = "from-yaml from-text" ]
    [ "$(complete_words tv help dare_t)" = dare_ties ]
    [ "$(complete_words tv pipeline tie)" = ties ]
    [ "$(complete_words tv pipeline ties --dens)" = --density ]
    [ "$(complete_words tv pipeline ties --dtype bf)" = bfloat16 ]
    mkdir -p hub/models--acme--big
    [ "$(HF_HUB_CACHE=hub complete_words unpack acm)" = acme/big ]
}

@test "fish completes commands, scripts, options, choices and models" {
    command -v fish >/dev/null || skip "fish is not installed"
    mkdir -p hub/models--acme--big
    cat >found.fish <<END
source $COMPLETIONS/tvtools.fish
for line in "tv me" "tv help dare_t" "tv pipeline tie" "tv pipeline ties --dens" "trim --scope=m" "tv run --th" "tv unpack acm"
    complete -C \$line | string split --fields 1 \\t
end
END
    HF_HUB_CACHE=hub HOME=$PWD fish found.fish >found || true # the status of its last split
    printf '%s\n' merge dare_ties ties --density --scope=model --threads= acme/big | diff - found
}

@test "zsh completes commands, scripts, options, choices and models" {
    command -v zsh >/dev/null || skip "zsh is not installed"
    mkdir -p hub/models--acme--big
    # In a terminal: control X completes the line and appends it to the file completed.
    cat >shell.zsh <<END
zmodload zsh/zpty
zpty shell 'zsh -f -i'
zpty -w shell "fpath=($COMPLETIONS \\\$fpath); autoload -U compinit; compinit -D"
zpty -w shell 'show() { zle complete-word; print -r -- \$BUFFER >>completed; BUFFER=; zle accept-line }'
zpty -w shell 'zle -N show; bindkey "^X" show'
lines=0
while read -r line; do
    zpty -n -w shell \$line\$'\C-x'
    ((++lines))
    until ((\$(wc -l <completed) == lines)); do
        zpty -r -t shell ignored || sleep 0.01
    done
done
END
    : >completed
    printf '%s\n' "tv me" "tv help dare_t" "tv pipeline tie" "tv pipeline ties --dens" "trim --scope=m" "tv run --th" \
        "tv unpack acm" | HF_HUB_CACHE=hub TERM=xterm timeout 60 zsh -f shell.zsh
    printf '%s\n' "tv merge " "tv help dare_ties " "tv pipeline ties " "tv pipeline ties --density=" "trim --scope=model " \
        "tv run --threads=" "tv unpack acme/big " | diff - completed
}
