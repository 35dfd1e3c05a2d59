#!/usr/bin/env bats
# Images and messages become a folder of samples. The test has its own tokenizer, image processor and
# image reader: a byte is a token, an image file contains its grid in patches. (The packages with real
# ones are large.)
load common
load refusals

setup() {
    own_folder
    export PYTHONPATH=$T/packages PYTHONDONTWRITEBYTECODE=1 REFUSED_BY=images-to-samples
    mkdir -p packages/PIL
    cat >packages/PIL/__init__.py <<'END'
END
    cat >packages/PIL/Image.py <<'END'
import contextlib


class Picture(tuple):
    def convert(self, mode):
        assert mode == "RGB"
        return self


@contextlib.contextmanager
def open(path):
    with __builtins__["open"](path) as f:
        yield Picture(int(n) for n in f.read().split())
END
    cat >packages/transformers.py <<'END'
import numpy as np

NAMES = {"<|vision_start|>": 252, "<|image_pad|>": 250, "<|vision_end|>": 253, "<img>": 248,
         "<IMG_CONTEXT>": 250, "</img>": 249}


class AutoTokenizer:
    eos_token_id = 251

    @staticmethod
    def from_pretrained(folder):
        return AutoTokenizer()

    def encode(self, text, add_special_tokens):
        ids = []
        while text:
            name = next((n for n in NAMES if text.startswith(n)), None)
            ids.append(NAMES[name] if name else ord(text[0]))
            text = text[len(name or "x"):]
        return ids

    def convert_tokens_to_ids(self, name):
        return NAMES[name]

    def apply_chat_template(self, messages, tokenize, add_generation_prompt):
        if any(m["role"] == "nobody" for m in messages):
            raise ValueError("nobody is here\nat all")
        return "".join(f"{m['role'][0]}:{m['content']}" for m in messages) + "a:"


class AutoImageProcessor:
    merge_size = 2

    @staticmethod
    def from_pretrained(folder, backend):
        return AutoImageProcessor()

    def __call__(self, images, return_tensors, crop_to_patches=False):
        height, width = images[0]
        if crop_to_patches:
            return {"pixel_values": np.ones((height * width, 3, 56, 56), np.float32)}
        return {"pixel_values": np.ones((height * width, 1176), np.float32),
                "image_grid_thw": np.array([[1, height, width]])}
END
    echo 2 8 >wide.png
    echo 2 2 >small.png
}

# ask CONTENT IMAGE...: a line
ask() {
    local images
    images=$(printf ', "%s"' "${@:2}")
    printf '{"messages": [{"role": "user", "content": "%s"}, {"role": "assistant", "content": "ok"}], "images": [%s]}\n' \
        "$1" "${images#, }"
}

make() {
    /usr/bin/python3 "$ROOT/share/etl/images-to-samples" --model "$M" chart.jsonl "$1"
}

# samples EXPRESSION: of each sample s
samples() {
    /usr/bin/python3 -c "import json
for s in map(json.loads, open('out/samples.jsonl')): print(json.dumps($1))"
}

@test "Qwen2-VL: what forward and calibrate read" {
    M=$GOLDEN/models/qwen2vl/tied/hub
    ask 'a<image>b<image>' wide.png small.png >chart.jsonl
    ask 'again' wide.png >>chart.jsonl
    make out
    diff -u - <(samples '[s["task"], s["prompt_len"], s["image_token_id"], s["input_ids"]]' | head -1) <<END
["chart", 15, 250, [117, 58, 97, 252, 250, 250, 250, 250, 253, 98, 252, 250, 253, 97, 58, 111, 107, 251]]
END
    [ "$(samples 's["images"][0]' | sort -u)" = '{"pixel_values": "image0", "grid_thw": [1, 2, 8], "tokens": 4}' ]
    forward "$M" --samples out --only logits | check --quiet
}

@test "InternVL: tiles" {
    M=$GOLDEN/models/internvl/qknorm_select/original
    ask '<image>x' small.png >chart.jsonl
    make out
    [ "$(samples 's["images"]')" = '[{"pixel_values": "image0", "tokens": 16}]' ]
    forward "$M" --samples out --only logits | check --quiet
}

@test "errors name the line, and nothing is written" {
    M=$GOLDEN/models/qwen2vl/tied/hub
    ask '<image><image>' wide.png >chart.jsonl
    refused_with "chart.jsonl, line 1: found 2 <image> marks for 1 images" make out
    ask x nowhere.png >chart.jsonl
    refused_with "chart.jsonl, line 1: cannot read the image nowhere.png" make out
    echo '{"messages": 1}' >chart.jsonl
    refused_with "chart.jsonl, line 1: messages is not a list" make out
    echo '{' >chart.jsonl
    refused_with "chart.jsonl, line 1: not valid JSON" make out
    echo '{"messages": [{"role": "nobody", "content": "Q"}]}' >chart.jsonl
    refused_with "chart.jsonl, line 1: the chat template rejects the messages: nobody is here" make out
    echo '{"messages": [{"role": "user", "content": "\ud83d"}]}' >chart.jsonl
    refused_with "chart.jsonl, line 1: a string contains an unpaired surrogate" make out
    : >chart.jsonl
    refused_with "chart.jsonl has no samples" make out
    ask x wide.png >chart.jsonl
    make out
    refused_with "out already exists" make out
    refused_with "No such file" make nowhere/out
    M=$GOLDEN/models/text/qwen2_tied
    refused_with "unsupported model type qwen2" make other
}
