#!/usr/bin/python3
"""bad_streams.py GOOD FOLDER [SEED]: makes streams that every reader must reject from a good one.

They are truncated at each object and inside it, have a bit flipped in each object, or have
malicious headers. GOOD is a small valid stream. With SEED only every seventh is made, of a long GOOD
about eight. (tests/unit/test_reader.c truncates and flips at every byte.)"""
import os
import sys

import msgpack

with open(sys.argv[1], "rb") as file:
    good = file.read()
folder = sys.argv[2]
os.mkdir(folder)


def save(name, *parts):
    global made
    made += 1
    if made % step == chosen:
        with open(os.path.join(folder, name), "wb") as f:
            f.write(b"".join(parts))


def objects(data):
    """The positions of the objects: [(start, end, object)]."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(data))
    unpacker.feed(data)
    at, found = 0, []
    for o in unpacker:
        found.append((at, unpacker.tell(), o))
        at = unpacker.tell()
    return found


def record(fields):
    packed = msgpack.packb(fields)
    return msgpack.packb(len(packed)) + packed


def flip(at):
    save(f"flipped-{at}", good[:at], bytes([good[at] ^ 1 << at % 8]), good[at + 1:])


parts = objects(good)
made, step, chosen = 0, 1, 0
if len(sys.argv) > 3:
    step = max(7, 4 * len(parts) // 8)
    chosen = int(sys.argv[3]) % step
for start, end, _ in parts:
    for at in {start, (start + end) // 2}:
        save(f"cut-{at}", good[:at])
        flip(at)
save("bytes-after-the-end", good, b"\0")
save("stream-after-the-end", good, good)
save("foreign-zip", b"PK\3\4", bytes(60))
save("foreign-text", b"kind task-vectors\n")
save("foreign-magic", b"\xa4TVS2", good[5:])

magic, after = good[:5], good[parts[2][1]:]  # the header is the third object, behind its length
header = parts[2][2]
first = next(start for start, _, o in parts if isinstance(o, bytes))
save("header-of-2^60-bytes", magic, b"\xcf", (1 << 60).to_bytes(8, "big"), good[6:])
save("header-of-255-mebibytes", magic, msgpack.packb(255 << 20), good[6:])
save("payload-of-4-gibibytes", good[:first], b"\xc6\xff\xff\xff\xff", good[first + 2:])
save("version-2", magic, record(dict(header, version=2)), after)
save("kind-unknown", magic, record(dict(header, kind="numbers")), after)
save("models-of-one-name", magic,
     record(dict(header, models=[dict(m, name="twin") for m in header["models"]])), after)
save("tensors-of-one-name", magic, record(dict(header, tensors=header["tensors"] * 2)), after)
large = [dict(t, shape=[1 << 40, 1 << 40]) for t in header["tensors"]]
save("tensor-of-2^80-elements", magic, record(dict(header, tensors=large)), after)
large = [dict(t, shape=[1 << 28, 1 << 28]) for t in header["tensors"]]
save("tensor-of-2^56-elements", magic, record(dict(header, tensors=large)), after)
