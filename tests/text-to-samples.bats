#!/usr/bin/env bats
# Text and messages become samples. The test has its own tokenizer and model: a byte is a token, 256
# begins and 257 ends a text, 259 precedes an answer, and the model answers with the prompt in capitals.
# (The packages with real ones are large.)
load common
load refusals

setup() {
    own_folder
    export PYTHONPATH=$T/packages PYTHONDONTWRITEBYTECODE=1 REFUSED_BY=text-to-samples
    mkdir packages
    cat >packages/transformers.py <<'END'
import os


class AutoTokenizer:
    @staticmethod
    def from_pretrained(folder):
        if not os.path.isdir(folder):
            raise OSError(f"there is no {folder}\nat all")
        return Tokenizer("chat" in folder)


class Tokenizer:
    eos_token_id = 257

    def __init__(self, chat):
        self.chat_template = "some" if chat else None

    def encode(self, text, add_special_tokens=True):
        names, ids = {"<s>": 256, "</s>": 257, "<a>": 259}, []
        while text:
            name = next((n for n in names if text.startswith(n)), None)
            ids += [names[name]] if name else list(text[0].encode())
            text = text[len(name or "x"):]
        return [256] + ids + [257] if add_special_tokens else ids

    def decode(self, ids, skip_special_tokens):
        assert skip_special_tokens
        return bytes(i for i in ids if i < 256).decode()

    def apply_chat_template(self, messages, tokenize, add_generation_prompt):
        assert not tokenize and add_generation_prompt
        if any(m["role"] == "nobody" for m in messages):
            raise ValueError("nobody is here\nat all")
        return "<s>" + "".join(f"{m['role'][0]}:{m['content']}" for m in messages) + "<a>"


class GenerationConfig:
    def __init__(self, **options):
        self.__dict__.update(options)


class AutoModelForCausalLM:
    generation_config = GenerationConfig(eos_token_id=[257, 300])

    @staticmethod
    def from_pretrained(folder):
        return AutoModelForCausalLM()

    def generate(self, ids, attention_mask, generation_config):
        assert attention_mask == [[1] * len(ids[0])] and generation_config.eos_token_id == [257, 300]
        assert not generation_config.do_sample
        words = [i for i in ids[0] if i < 256]
        answer = list(bytes(words).upper()) + [257]
        import torch
        return torch.tensor([ids[0] + answer[:generation_config.max_new_tokens]])
END
    cat >packages/torch.py <<'END'
class Row(list):
    def tolist(self):
        return list(self)


def tensor(rows):
    return [Row(r) for r in rows]


def ones_like(rows):
    return [[1] * len(r) for r in rows]
END
    mkdir chat bare
}

text_to_samples() {
    /usr/bin/python3 "$ROOT/share/etl/text-to-samples" "$@"
}

@test "messages and prompts, through the chat template" {
    cat >math.jsonl <<'END'
{"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}, {"role": "assistant", "content": "AB"}]}

{"prompt": "Q", "response": "A", "task": "sums"}
END
    text_to_samples --tokenizer chat math.jsonl >found
    diff -u - found <<'END'
{"task": "math", "response": "AB", "input_ids": [256, 115, 58, 83, 117, 58, 81, 259, 65, 66, 257], "prompt_len": 8}
{"task": "sums", "response": "A", "input_ids": [256, 117, 58, 81, 259, 65, 257], "prompt_len": 5}
END
    text_to_samples --tokenizer chat --task mine <math.jsonl >found
    [ "$(cut -d, -f 1 found)" = '{"task": "mine"'$'\n''{"task": "sums"' ]
    text_to_samples --tokenizer chat --end "<s>" math.jsonl | grep -c '65, 256\], "prompt_len": 5}$'
}

@test "from another folder, through a link" {
    mkdir bin
    ln -s "$ROOT/share/etl/text-to-samples" bin
    echo 'Q' | /usr/bin/python3 bin/text-to-samples --tokenizer bare --plain >found
    [ "$(cat found)" = '{"input_ids": [256, 81, 257]}' ]
}

@test "prompts without a template, and whole texts" {
    echo '{"prompt": "Q", "response": "é"}' >a.jsonl
    expected='"response": "é", "input_ids": [256, 81, 195, 169, 257], "prompt_len": 2}'
    [ "$(text_to_samples --tokenizer bare a.jsonl)" = "{\"task\": \"a\", $expected" ]
    [ "$(text_to_samples --tokenizer chat --no-template a.jsonl)" = "{\"task\": \"a\", $expected" ]
    [ "$(text_to_samples --tokenizer bare <a.jsonl)" = "{$expected" ]
    echo '{"text": "Q"}' >a.jsonl
    [ "$(text_to_samples --tokenizer chat a.jsonl)" = '{"task": "a", "input_ids": [256, 81, 257]}' ]
    printf 'Q\r\n' | text_to_samples --tokenizer chat --plain >found
    [ "$(cat found)" = '{"input_ids": [256, 81, 257]}' ]
}

@test "the expert answers" {
    echo '{"prompt": "q", "response": "no"}' >a.jsonl
    text_to_samples --tokenizer bare --generate chat a.jsonl >found
    [ "$(cat found)" = '{"task": "a", "response": "Q", "input_ids": [256, 113, 81, 257], "prompt_len": 2}' ]
    echo 'abc' | text_to_samples --tokenizer bare --plain --generate chat --max-new-tokens 2 >found
    [ "$(cat found)" = '{"response": "AB", "input_ids": [256, 97, 98, 99, 65, 66], "prompt_len": 4}' ]
    echo '{"messages": [{"role": "user", "content": "q"}]}' | text_to_samples --tokenizer chat --generate chat |
        grep -q '"response": "U:Q"'
}

@test "samples that are too long are skipped, with a message" {
    printf '%s\n' '{"text": "abc"}' '{"text": "a"}' '{"text": "ab"}' >a.jsonl
    text_to_samples --tokenizer bare --longest 4 a.jsonl >found 2>.err
    [ "$(grep -c . found)" = 2 ]
    [ "$(cat .err)" = "text-to-samples: skipped 1 of 3 samples with more than 4 tokens" ]
    refused_with "all 3 samples have more than 2 tokens" text_to_samples --tokenizer bare --longest 2 a.jsonl
}

@test "the demo's samples, from its words" {
    for task in rev sort shift; do
        sed 's/\("prompt": "[^"]*\)", \(.*\), "input_ids.*/\1<a>", \2}/' "$DEMO/calib/$task.jsonl" >"$task.jsonl"
        text_to_samples --tokenizer bare "$task.jsonl" >found
        for key in '"input_ids": \[[^]]*\]' '"prompt_len": [0-9]*' '"response": "[^"]*"'; do
            diff <(grep -o "$key" "$DEMO/calib/$task.jsonl") <(grep -o "$key" found)
        done
    done
}

# wrong_line SENTENCE LINE OPTION...: as the second line of a file
wrong_line() {
    printf '%s\n' '{"prompt": "Q", "response": "A"}' "$2" >bad.jsonl
    refused_with "bad.jsonl, line 2: $1" text_to_samples --tokenizer bare "${@:3}" bad.jsonl
    [ ! -s .out ]
}

@test "names the lines that it cannot parse, and writes nothing" {
    wrong_line "not valid JSON" '{"prompt": "Q"'
    wrong_line "not a JSON object" '[]'
    wrong_line "expected one of messages, prompt and text, found none of them" '{}'
    wrong_line "expected one of messages, prompt and text, found prompt and text" '{"prompt": "", "text": ""}'
    wrong_line "prompt is not a string" '{"prompt": 3}'
    wrong_line "task is not a string" '{"prompt": "Q", "response": "A", "task": 3}'
    wrong_line "there is no response" '{"prompt": "Q"}'
    wrong_line "the response is empty" '{"prompt": "Q", "response": ""}'
    wrong_line "the prompt is empty" '{"prompt": "", "response": "A"}'
    wrong_line "the text is empty" '{"text": ""}'
    wrong_line "messages require a chat template" '{"messages": [{"role": "user", "content": "Q"}]}'
    wrong_line "messages is not a list" '{"messages": []}' --tokenizer chat
    wrong_line "messages[0] lacks a string for role" '{"messages": [{"content": "Q"}]}' --tokenizer chat
    wrong_line "there is no message before" '{"messages": [{"role": "assistant", "content": "Q"}]}' --tokenizer chat
    wrong_line "there is no response" '{"messages": [{"role": "user", "content": "Q"}]}' --tokenizer chat
    wrong_line "the chat template rejects the messages: nobody is here" \
        '{"messages": [{"role": "nobody", "content": "Q"}, {"role": "assistant", "content": "A"}]}' --tokenizer chat
    wrong_line "a string contains an unpaired surrogate" '{"prompt": "Q", "response": "\ud83d"}'
}

@test "missing models and packages, unreadable files" {
    echo '{"text": "Q"}' >good.jsonl
    : >empty.jsonl
    refused_with "empty.jsonl has no samples" text_to_samples --tokenizer bare empty.jsonl
    refused_with "cannot read nowhere" text_to_samples --tokenizer bare nowhere
    refused_with "cannot load the tokenizer of nowhere: there is no nowhere" \
        text_to_samples --tokenizer nowhere good.jsonl
    refused_with "<x> is 3 tokens, expected one" text_to_samples --tokenizer bare --end "<x>" good.jsonl
    printf '{"text": "\xff"}\n' >latin.jsonl
    refused_with "latin.jsonl is not UTF-8" text_to_samples --tokenizer bare latin.jsonl
    with_full_disk text_to_samples --tokenizer bare good.jsonl
    echo 'raise ImportError' >packages/torch.py
    refused_with "--generate requires the Python packages transformers and torch" \
        text_to_samples --tokenizer bare --generate chat good.jsonl
    echo 'raise ImportError' >packages/transformers.py
    refused_with "the Python package transformers is required" text_to_samples --tokenizer bare good.jsonl
}
