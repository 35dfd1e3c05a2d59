#!/usr/bin/env bats
# The dict of tensors in a file of torch.save: MODEL#KEY wherever a model can stand.
load common
load refusals

# one.pt with the dicts model.state_dict and ema, and config.json beside; base.safetensors
setup_file() {
    mkdir "$BATS_FILE_TMPDIR/m"
    cd "$BATS_FILE_TMPDIR/m" || exit 1
    echo '{"model_type": "none"}' >config.json
    PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$TESTS /usr/bin/python3 - <<'END'
from models import save, save_torch

import numpy as np

base = np.arange(6, dtype="<f4").reshape(2, 3)
one = {"epoch": 3, "model": {"state_dict": {"w": base + 1, "b": base[0]}}, "ema": {"w": base + 3, "b": base[1]},
       "optimizer": {"state": {}, "param_groups": {}}}
save_torch("one.pt", one)
save_torch("pytorch_model.bin", one)
save_torch("only.pt", {"state_dict": one["ema"], "epoch": 3, "optimizer": one["model"]})
for name, x in (("base", (base, base[0])), ("model", (base + 1, base[0])), ("ema", (base + 3, base[1]))):
    save(name + ".safetensors", {"w": ("F32", [2, 3], x[0].tobytes()), "b": ("F32", [3], x[1].tobytes())})
END
}

setup() {
    own_folder
    cp "$BATS_FILE_TMPDIR"/m/* .
}

@test "MODEL#KEY: files, folders, archives and the cache" {
    tar -cf m.tar config.json pytorch_model.bin
    mkdir -p "hub/models--org--m/snapshots/abc" hub/models--org--m/refs folder
    cp pytorch_model.bin config.json hub/models--org--m/snapshots/abc
    printf abc >hub/models--org--m/refs/main
    cp pytorch_model.bin config.json folder
    export HF_HUB_CACHE=$PWD/hub
    for model in one.pt ./one.pt folder folder/pytorch_model.bin m.tar org/m hub/models--org--m hub/models--org--m/snapshots/abc; do
        tv-diff "$model#model.state_dict" model.safetensors || return 1
        tv-diff "$model#ema" ema.safetensors || return 1
        unpack "$model" >.out 2>.err && return 1
        [ "$(grep -o "#[a-z._]*' (2 tensors: w, ...)" .err | paste -sd ' ')" = \
            "#ema' (2 tensors: w, ...) #model.state_dict' (2 tensors: w, ...)" ] || wrong "$model" || return 1
    done
    tv-diff only.pt ema.safetensors 2>.err
    grep -cF 'tv-diff: note: only.pt: reading the dict state_dict, the only one with weights' .err
    rm hub/models--org--m/refs/main
    tv-diff hub/models--org--m#ema ema.safetensors
    mkdir hub/models--org--m/snapshots/def
    refused_with "hub/models--org--m/snapshots/abc, hub/models--org--m/snapshots/def" unpack hub/models--org--m
}

@test "MODEL#KEY: names, bases, configs, layer ranges and tv run" {
    unpack 'one.pt#ema' | tv-view --values | grep -c '^model one#ema '
    unpack 'x=one.pt#ema' | tv-view --values | grep -c '^model x '
    tv-extract base.safetensors 'one.pt#ema' 'one.pt#model.state_dict' | combine | add-base base.safetensors |
        pack sum.safetensors
    tv run "tv-extract base.safetensors one.pt#ema 'one.pt#model.state_dict' | combine |
        pack --base base.safetensors run.safetensors"
    tv-diff sum.safetensors run.safetensors
    tv-extract 'one.pt#model.state_dict' 'one.pt#ema' | pack --base 'one.pt#model.state_dict' back.safetensors
    tv-diff back.safetensors ema.safetensors
    tv-extract 'one.pt#model.state_dict' base.safetensors >tau.tvs
    refused_with "another base: one#model.state_dict with the fingerprint" add-base 'one.pt#ema' <tau.tvs
    for form in one.pt#ema '"one.pt#ema"'; do
        printf '%s\n' 'merge_method: linear' "models: [{model: $form, parameters: {weight: 0.5}}," \
            '{model: "one.pt#model.state_dict", parameters: {weight: 0.5}}]' >config.yml
        tv merge --force config.yml merged
        unpack merged | tv-view --values | grep -c '^2 3 4$'
    done
    cp one.pt 'one.pt#ema'
    refused_with "choose one of" unpack 'one.pt#ema'
    tv-diff 'one.pt#ema#ema' ema.safetensors
}

@test "a dict on standard input: -#KEY" {
    for key in ema model.state_dict; do
        unpack -#$key <one.pt 2>.err | tv-diff - "${key%.*}.safetensors" || return 1
        cat one.pt | tv run "unpack x=-#$key" 2>.err | tv-view --values | grep -c '^model x ' || return 1
    done
    unpack -#ema <one.pt 2>.err | tv-view --values | grep -c '^model stdin#ema '
    tv-extract base=base.safetensors x=-#ema <one.pt 2>.err | combine | pack --base base.safetensors sum.safetensors
    tv-diff sum.safetensors ema.safetensors
    refused_with "standard input contains several dicts of tensors; choose one of '-#ema' (2 tensors: w, ...), \
'-#model.state_dict' (2 tensors: w, ...)" unpack - <one.pt
    refused_with "standard input is a safetensors file, which has no dicts in it; leave out #ema" unpack -#ema <ema.safetensors
    unpack ema.safetensors >ema.tvs
    refused_with "standard input is a stream, which has no dicts in it; leave out #ema" unpack -#ema <ema.tvs
}
