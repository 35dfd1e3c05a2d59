"""What text-to-samples and images-to-samples share: lines that are read, messages, models that the
Python package transformers loads, and the one sentence when something is refused."""
import json
import os
import re
import signal
import sys

HALF = "[\ud800-\udfff]"  # JSON can write halves that make no character


class Refused(Exception):
    """One sentence for the user."""


def first_line(e):
    return (str(e).strip() or type(e).__name__).splitlines()[0]


def run(name, main):
    """The program: what is refused, or cannot be written, is said under its name."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        main()
        sys.stdout.flush()
    except Refused as e:
        sys.exit(f"{name}: {e}")
    except OSError as e:
        os._exit(print(f"{name}: cannot write: {e.strerror}", file=sys.stderr) or 1)


# ---- files -----------------------------------------------------------------------------------------


def at(where, function, *arguments):
    """Says where it was refused."""
    try:
        return function(*arguments)
    except Refused as e:
        raise Refused(f"{where}: {e}")


def read(file, parse):
    """What `parse` makes of each line, and where that is; empty lines mean nothing."""
    name, found = "standard input" if file == "-" else file, []
    try:
        with open(0 if file == "-" else file, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                line = line.rstrip("\r\n")
                if line.strip():
                    where = f"{name}, line {number}"
                    found.append((where, at(where, parse, line)))
    except OSError as e:
        raise Refused(f"cannot read {name}: {e.strerror}")
    except UnicodeDecodeError:
        raise Refused(f"{name} is not UTF-8")
    if not found:
        raise Refused(f"{name} has no samples")
    return found


def task_of(file, task):
    """rev.jsonl in any folder: rev"""
    if task is not None or file == "-":
        return task
    return os.path.splitext(os.path.basename(file))[0]


# ---- what a line says ------------------------------------------------------------------------------


def parse_object(line):
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as e:
        raise Refused(f"this is no JSON: {e.msg} at column {e.colno}")
    if re.search(HALF, json.dumps(entry, ensure_ascii=False)):
        raise Refused("a text has half of a character (\\ud800 to \\udfff) in it")
    if not isinstance(entry, dict):
        raise Refused("this is no JSON object")
    if not isinstance(entry.get("task", ""), str):
        raise Refused("task is not a text")
    return entry


def new_sample(entry, task):
    """A sample that so far has only its task, if it has one."""
    task = entry.get("task", task)
    return {} if task is None else {"task": task}


def conversation(messages):
    """Messages up to the last answer, and that answer (None if the last is not the assistant's)."""
    if not isinstance(messages, list) or not messages:
        raise Refused("messages is not a list of messages")
    for i, m in enumerate(messages):
        if not isinstance(m, dict) or not all(isinstance(m.get(k), str) for k in ("role", "content")):
            raise Refused(f"messages[{i}] has no role or no content that is a text")
    if messages[-1]["role"] != "assistant":
        return messages, None
    if len(messages) == 1:
        raise Refused("there is no message before the response")
    return messages[:-1], messages[-1]["content"]


# ---- models ----------------------------------------------------------------------------------------


def transformers_package():
    try:
        import transformers
    except ImportError:
        raise Refused("the Python package transformers is needed")
    return transformers


def load(what, folder, loader, **options):
    try:
        return loader(folder, **options)
    except Refused:
        raise
    except Exception as e:  # whatever transformers finds wrong with it
        raise Refused(f"cannot load the {what} of {folder}: {first_line(e)}")


def load_tokenizer(folder):
    return load("tokenizer", folder, transformers_package().AutoTokenizer.from_pretrained)


def through_template(tokenizer, messages):
    """The text of a conversation that goes on with an answer."""
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except Exception as e:  # whatever the template finds wrong with them
        raise Refused(f"the chat template does not take the messages: {first_line(e)}")
