#!/usr/bin/env bats
# Layer ranges, MODEL[from:to], in unpack, tv-extract, add-base and pack.
load common
load lesson
load refusals

# names: prints the names of a stream's tensors, with their layers
names() {
    tv-view --values | sed -n 's/^tensor \([^ ]*\) [^ ]*/\1/p'
}

# model NAME LAYERS NUMBER: makes a model with a text stack of LAYERS layers and a vision tower of two;
# NUMBER is a prefix of its elements
model() {
    local i
    mkdir "$1"
    {
        printf 'kind weights\nmodel %s\n' "$1"
        printf 'tensor model.embed_tokens.weight 1\nvector %s\n%s9\n' "$1" "$3"
        for ((i = 0; i < $2; i++)); do
            printf 'tensor model.layers.%s.w 1\nvector %s\n%s%s\n' $i "$1" "$3" $i
        done
        for i in 0 1; do
            printf 'tensor visual.blocks.%s.w 1\nvector %s\n%s%s.5\n' $i "$1" "$3" $i
        done
    } | from-text | pack "$1/model.safetensors"
    echo "{\"text_config\": {\"num_hidden_layers\": $2}, \"vision_config\": {\"depth\": 2}}" >"$1/config.json"
}

setup() {
    own_folder
    model a 11 1
    model b 11 2
}

@test "a range selects layers from .. to - 1 of the text stack, and all tensors outside it" {
    unpack 'a[9:11]' | names >found
    diff -u - found <<END
model.embed_tokens.weight
model.layers.10.w layer=1/2
model.layers.9.w layer=0/2
visual.blocks.0.w layer=0/2
visual.blocks.1.w layer=1/2
END
}

@test "layers are paired by position and numbered as in the first model, or from --first-layer" {
    unpack 'a[1:3]' 'b[8:10]' | pick '/model.layers*' | tensors | sed 's/ stored=F32//' >found
    diff -u - found <<END
tensor model.layers.1.w 1 layer=0/2
vector a
11
vector b source=model.layers.8.w
28
tensor model.layers.2.w 1 layer=1/2
vector a
12
vector b source=model.layers.9.w
29
END
    tv-extract --first-layer 9 'a[1:3]' 'b[0:2]' | pick '/model.layers*' | tensors |
        sed 's/ stored=F32//' >found
    diff -u - found <<END
tensor model.layers.10.w 1 layer=1/2 base=model.layers.2.w
vector b source=model.layers.1.w
9
tensor model.layers.9.w 1 layer=0/2 base=model.layers.1.w
vector b source=model.layers.0.w
9
END
}

@test "--first-layer without a range selects all layers" {
    unpack --first-layer 5 a | pick '/model.layers*' | names | tail -n 1 >found
    echo "model.layers.9.w layer=4/11" | diff - found
}

@test "--stack selects another stack" {
    for stack in visual.blocks visual.blocks.; do
        unpack --stack $stack --first-layer 3 'a[1:2]' | pick '/visual*' | tensors >found
        diff -u - found <<END
tensor visual.blocks.3.w 1 layer=0/1
vector a source=visual.blocks.1.w stored=F32
11.5
END
    done
}

@test "globs match the source's layer numbers; layer gradients span the range" {
    tv-extract --first-layer 0 'a[1:4]' 'b[1:4]' | weigh '[1,2]' '/*layers.3.w=7' |
        pick '/model.layers*' | tensors | grep -o 'weight=.*' >found
    printf 'weight=1.5\nweight=7\n' | diff - found # the first weight is 1, which is not printed
}

@test "add-base finds the layers of the base, with a range only those in it" {
    tv-extract --first-layer 7 'a[1:3]' 'b[1:3]' >deltas.tvs
    for base in a 'a[1:3]' 'a[0:11]'; do
        add-base "$base" <deltas.tvs | pick '/model.layers*' | tensors | grep '^[0-9]' >found
        printf '21\n22\n' | diff - found
    done
    refused_with "a has no tensor model.layers.2.w" add-base 'a[1:2]' <deltas.tvs
}

@test "pack --base takes the other layers from the base" {
    tv-extract 'a[1:3]' 'b[1:3]' | pack --base a out
    tensors < <(unpack out) | grep '^[0-9]' | tr '\n' ' ' >found
    echo -n "29 10 21 110 22 13 14 15 16 17 18 19 20.5 21.5 " | diff - found
    grep -q '"num_hidden_layers": 11' out/config.json
    tv-extract --first-layer 0 'a[1:3]' 'b[1:3]' | pack --base 'a[1:3]' fewer
    tensors < <(unpack fewer) | grep '^[0-9]' | tr '\n' ' ' >found
    echo -n "29 21 22 20.5 21.5 " | diff - found
    grep -q '"num_hidden_layers": 2' fewer/config.json
}

@test "ranges of saved streams, files and named models" {
    unpack 'a[2:4]' | pick '/model.layers*' | tensors | sed 's/ stored.*//' >expected
    unpack a >a.tvs
    unpack --stack model.layers 'a=a.tvs[2:4]' | pick '/model.layers*' | tensors | sed 's/ stored.*//' | diff expected -
    unpack --stack model.layers 'a=a/model.safetensors[2:4]' | pick '/model.layers*' | tensors |
        sed 's/ stored.*//' | diff expected -
    unpack 'a=a[2:4]' | pick '/model.layers*' | tensors | sed 's/ stored.*//' | diff expected -
}

@test "the history records the range, not the folder; hashes cover the tensors that were read" {
    unpack 'x=a[2:4]' | tv-view --values | grep -o 'step.*' >found
    echo "step unpack 0.1.0 x[2:4]" | diff - found
    hash() { tv-view --values | grep '^hash'; }
    unpack 'a[2:4]' | hash >one
    unpack --first-layer 7 'a[2:4]' | hash | diff one -
    run ! diff one <(unpack 'a[2:5]' | hash)
}

@test "the bytes do not depend on threads, memory, tv run or the folder" {
    tv-extract 'a[1:3]' 'b[4:6]' >once
    tv-extract --threads 4 --memory 64K 'a[1:3]' 'b[4:6]' | cmp - once
    tv run "tv-extract 'a[1:3]' b[4:6]" | cmp - once
    cp -r a elsewhere
    tv-extract 'a=elsewhere[1:3]' 'b[4:6]' | cmp - once
}

@test "rejects ranges out of bounds, ranges of different lengths, and ambiguous stacks" {
    refused_with "a has layers 0 to 10; the range [9:12] goes beyond them" unpack 'a[9:12]'
    refused_with "the range [3:3] is empty" unpack 'a[3:3]'
    refused_with "the range [0:99999999999999999999] goes beyond" unpack 'a[0:99999999999999999999]'
    refused_with "3 layers of b cannot be paired with 2 of a" unpack 'a[0:2]' 'b[0:3]'
    refused_with "11 layers of b cannot be paired with 2 of a" tv-extract 'a[0:2]' b
    refused_with "a has no layers under audio" unpack --stack audio 'a[0:1]'
    cp a/model.safetensors alone.safetensors
    refused_with "several layer stacks" unpack 'alone.safetensors[0:1]'
    usage_error_with "--stack needs a range" unpack --stack visual.blocks a
    usage_error_with "--first-layer must be in [0, 999999], found 1000000" unpack --first-layer 1000000 a
    refused_with "a[1:]" unpack 'a[1:]'
    refused_with "not-there" unpack 'not-there[0:1]'
    printf 'kind weights\nmodel m\ntensor w 1\nvector m\n1\n' | from-text >plain.tvs
    refused_with "plain.tvs has no layers" unpack 'plain.tvs[0:1]'
}

@test "--outside omits tensors that stack takes from other streams" {
    add_rest() {
        { unpack "$1" | tv-view --values | grep -vE '^(step|hash| *fingerprints)' &&
            printf 'tensor norm.weight 1\nvector %s\n%s\n' "$1" "$2"; } | from-text | pack "$1.safetensors"
    }
    add_rest a 5
    add_rest b 6
    for part in first none last; do
        unpack --stack model.layers --outside $part 'a.safetensors[0:1]' | names | sed 's/ .*//' >"of-$part"
    done
    printf '%s\n' model.embed_tokens.weight model.layers.0.w visual.blocks.0.w visual.blocks.1.w | diff - of-first
    echo model.layers.0.w | diff - of-none
    printf '%s\n' model.layers.0.w norm.weight | diff - of-last
    part() { unpack --stack model.layers "$@"; }
    whole() { stack --stack model.layers <(part 'a.safetensors[0:1]') \
        <(part --first-layer 1 'b.safetensors[3:5]') <(part --first-layer 3 'a.safetensors[2:3]'); }
    parts() { stack --stack model.layers <(part --outside first 'a.safetensors[0:1]') \
        <(part --outside none --first-layer 1 'b.safetensors[3:5]') \
        <(part --outside last --first-layer 3 'a.safetensors[2:3]'); }
    diff <(whole | tensors) <(parts | tensors)
    # so models may differ in these tensors
    printf 'kind weights\nmodel c\ntensor model.embed_tokens.weight 2\nvector c\n1 2\ntensor model.layers.0.w 1\nvector c\n7\n' |
        from-text | pack c.safetensors
    refused_with "model.embed_tokens.weight is (2,) in c" unpack --stack model.layers 'a.safetensors[0:1]' c.safetensors
    part --outside none 'a.safetensors[0:1]' c.safetensors | tensors | grep -c vector | grep -cx 2
    refused_with "--outside needs a range" unpack --outside first a
}
