"""Code shared by text-to-samples and images-to-samples: reading input lines and chat messages, loading
tokenizers and models with the Python package transformers, and error messages of one sentence."""
import json
import os
import re
import signal
import sys

SURROGATE = "[\ud800-\udfff]"  # JSON escapes can contain surrogates that are not a character


class InputError(Exception):
    """One sentence for the user."""


def first_line(e):
    return (str(e).strip() or type(e).__name__).splitlines()[0]


def run_program(name, main):
    """Runs main(); prints errors as `name: sentence` and exits with 1."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        main()
        sys.stdout.flush()
    except InputError as e:
        sys.exit(f"{name}: {e}")
    except OSError as e:
        os._exit(print(f"{name}: cannot write: {e.strerror}", file=sys.stderr) or 1)


# ---- files -----------------------------------------------------------------------------------------


def call_at(location, function, *arguments):
    """function(*arguments); the sentence of an InputError begins with the location."""
    try:
        return function(*arguments)
    except InputError as e:
        raise InputError(f"{location}: {e}")


def read_lines(file, parse):
    """[(location, parse(line))] for each line that is not empty; "-" is standard input."""
    name, entries = "standard input" if file == "-" else file, []
    try:
        with open(0 if file == "-" else file, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                line = line.rstrip("\r\n")
                if line.strip():
                    location = f"{name}, line {number}"
                    entries.append((location, call_at(location, parse, line)))
    except OSError as e:
        raise InputError(f"cannot read {name}: {e.strerror}")
    except UnicodeDecodeError:
        raise InputError(f"{name} is not UTF-8")
    if not entries:
        raise InputError(f"{name} has no samples")
    return entries


def task_of_file(file, task):
    """`task`, or if it is None, the file's name without folder and ending: rev.jsonl is rev."""
    if task is not None or file == "-":
        return task
    return os.path.splitext(os.path.basename(file))[0]


# ---- lines -----------------------------------------------------------------------------------------


def parse_object(line):
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as e:
        raise InputError(f"not valid JSON: {e.msg} at column {e.colno}")
    if re.search(SURROGATE, json.dumps(entry, ensure_ascii=False)):
        raise InputError("a string contains an unpaired surrogate (\\ud800 to \\udfff)")
    if not isinstance(entry, dict):
        raise InputError("not a JSON object")
    if not isinstance(entry.get("task", ""), str):
        raise InputError("task is not a string")
    return entry


def new_sample(entry, task):
    """A sample with the task of the entry, or else `task`; without the key if both are missing."""
    task = entry.get("task", task)
    return {} if task is None else {"task": task}


def split_response(messages):
    """The messages before the assistant's last one, and its text; all messages and None if the last
    message is not the assistant's."""
    if not isinstance(messages, list) or not messages:
        raise InputError("messages is not a list of messages")
    for i, m in enumerate(messages):
        if not isinstance(m, dict) or not all(isinstance(m.get(k), str) for k in ("role", "content")):
            raise InputError(f"messages[{i}] lacks a string for role or content")
    if messages[-1]["role"] != "assistant":
        return messages, None
    if len(messages) == 1:
        raise InputError("there is no message before the response")
    return messages[:-1], messages[-1]["content"]


# ---- models ----------------------------------------------------------------------------------------


def transformers_package():
    try:
        import transformers
    except ImportError:
        raise InputError("the Python package transformers is required")
    return transformers


def load(what, folder, loader, **options):
    try:
        return loader(folder, **options)
    except InputError:
        raise
    except Exception as e:  # any error that transformers raises
        raise InputError(f"cannot load the {what} of {folder}: {first_line(e)}")


def load_tokenizer(folder):
    return load("tokenizer", folder, transformers_package().AutoTokenizer.from_pretrained)


def apply_template(tokenizer, messages):
    """The prompt text of a conversation, up to where the assistant's answer begins."""
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except Exception as e:  # any error that the template raises
        raise InputError(f"the chat template rejects the messages: {first_line(e)}")
