#!/usr/bin/env bats
# share/mergekit.md and share/tutorial.md: the commands have the options that they name. tests/real/run runs their
# examples.
load common
load refusals

PAGE=$ROOT/share/mergekit.md
TUTORIAL=$ROOT/share/tutorial.md

# rows HEADER: the first column of the table with this header
rows() {
    awk -F ' *[|] *' -v header="$1" '!/^[|]/ { on = 0 } on && !/^[|]-/ { print $2 } /^[|]/ && $2 == header { on = 1 }' "$PAGE"
}

# spellings CELL...: each `--option VALUE` of the cells, with a value that every command takes
spellings() {
    grep -o '`-[^`]*`' | tr -d '`' | sed 's/ DIR$/ ./; s/ \(TYPE\)$/ float32/; s/ [A-Z]*$/ 1/'
}

# accepts COMMAND OPTION...: --help comes last, and what is before it is read
accepts() {
    tv "$@" --help >/dev/null 2>err || fail "tv $*: $(cat err)"
}

@test "tv merge, moe, extract-lora and from-yaml accept the options of mergekit's commands" {
    rows mergekit | spellings >common
    grep -c . common
    for command in merge moe extract-lora from-yaml; do
        while read -r -a option; do accepts "$command" "${option[@]}"; done <common
    done
    for pair in mergekit-multi=merge mergekit-moe=moe mergekit-extract-lora=extract-lora; do
        rows "${pair%=*}" | spellings >own
        grep -c . own
        while read -r -a option; do accepts "${pair#*=}" "${option[@]}"; done <own
    done
    not accepts merge --no-such-option
    not accepts merge -u
}

# page_commands: the lines of code, and the code between backticks, that begin with a program or tv COMMAND
page_commands() {
    { sed -n '/^```sh/,/^```/p; s/^    //p' "$PAGE" "$TUTORIAL"; grep -oh '`[^`]*`' "$PAGE" "$TUTORIAL" | tr -d '`'; } |
        tr '|' '\n' | sed 's/^ *//'
}

@test "the guides name options that the commands have" {
    n=0
    while read -r line; do
        read -r -a words <<<"$line"
        [ "${words[0]}" != tv ] || words=("tv ${words[1]}" "${words[@]:2}")
        case ${words[0]} in
        tv\ pipeline) words[0]="tv pipeline ${words[1]}" ;;
        tv\ *) ;;
        *) [ -e "$ROOT/filters/${words[0]}.c" ] || continue ;;
        esac
        for word in "${words[@]:1}"; do
            [[ $word = --* ]] || continue
            n=$((n + 1))
            # shellcheck disable=SC2086
            ${words[0]} --help | grep -c -- "^ *\(-., \)\{0,1\}${word%%=*}\([ =[]\|$\)" || fail "${words[0]} has no ${word%%=*}"
        done
    done < <(page_commands)
    [ "$n" -gt 10 ]
}

@test "the links of the guides lead to files and headings" {
    for page in "$PAGE" "$TUTORIAL"; do
        grep -o '](\([^)]*\))' "$page" | tr -d '()]' >links
        while read -r link; do
            [[ $link != http* ]] || continue
            file=$ROOT/share/${link%%#*}
            [ "${link%%#*}" != "" ] || file=$page
            [ -e "$file" ] || fail "no file $link"
            [[ $link != *#* ]] || sed -n 's/^#* //p' "$file" | tr '[:upper:] ' '[:lower:]-' | tr -d '.,`:' |
                grep -cx -- "${link#*#}" || fail "no heading $link"
        done <links
    done
}

# says LINE...: what tv merge prints for this configuration
says() {
    printf '%s\n' "$@" >config.yml
    tv merge config.yml out 2>>said || true
    rm -rf out
}

# spoiled_math PYTHON: math with another header (h) and data
spoiled_math() {
    rm -rf math
    cp -r "$A/math" .
    /usr/bin/python3 - math/model.safetensors "$1" <<'END'
import json, struct, sys
with open(sys.argv[1], "rb") as f:
    size = struct.unpack("<Q", f.read(8))[0]
    h, data = json.loads(f.read(size)), bytearray(f.read())
exec(sys.argv[2])
header = json.dumps(h).encode()
with open(sys.argv[1], "wb") as f:
    f.write(struct.pack("<Q", len(header)) + header + data)
END
}

@test "tv merge prints the messages of share/mergekit.md" {
    ln -s "$A"/{base,math,code} "$GOLDEN/merge/models-extra/wide" .
    two='models: [{model: math, parameters: {weight: 1}}, {model: code, parameters: {weight: 1}}]'
    says 'merge_method: tie' 'base_model: base' "$two"
    says 'merge_method: ties' "$two"
    says 'merge_method: ties' 'base_model: base' 'slices: [{sources: [{model: math, layer_range: [0, 2], parameters: {weight: 1}}]}]'
    says 'merge_method: slerp' 'base_model: base' 'models: [{model: math}, {model: code}]' 'parameters: {t: 0.5}'
    says 'merge_method: ties' 'base_model: base' 'models: [{model: math}, {model: code}]'
    says 'merge_method: linear' "$two" 'slices: [{sources: [{model: math, layer_range: [0, 2]}]}]'
    says 'merge_method: della' 'base_model: base' "$two" 'parameters: {density: 0.9}'
    says 'merge_method: linear' 'models: [{model: acme/math, parameters: {weight: 1}}]'
    says 'merge_method: linear' 'models: [{model: math}, {model: wide}]' 'parameters: {weight: 1}'
    says 'merge_method: passthrough' 'slices: [{sources: [{model: math, layer_range: [0, 99]}]}]'
    says 'merge_method: linear' "$two" 'paramters: {normalize: false}'
    mkdir out && touch out/model.safetensors
    tv merge config.yml out 2>>said || true
    rm -r out
    spoiled_math 'h["x"] = h.pop("model.layers.1.mlp.up_proj.weight")'
    says 'merge_method: linear' "$two"
    spoiled_math 'o = h["model.norm.weight"]["data_offsets"][0]; data[o:o + 4] = struct.pack("<f", float("nan"))'
    says 'merge_method: linear' "$two"
    spoiled_math 'del data[-100:]'
    says 'merge_method: linear' "$two"
    cat said
    sed -n '/^## Messages/,$p' "$PAGE" | awk -F ' *[|] *' '/^[|]/ && !/^[|]-/ && $3 != "tv merge" { print $3 }' |
        grep -v '^no error' | grep -o '`[^`]*`' | tr -d '`' >messages
    [ "$(wc -l <messages)" -gt 10 ]
    while read -r message; do grep -cF -- "$message" said || fail "not printed: $message"; done <messages
}
