/* Mutates a pickle opcode by opcode: removes, moves and repeats them, and inserts those of tensors,
 * dicts and objects, so that more of what results is a pickle. */
#ifndef TV_PICKLE_MUTATOR_H
#define TV_PICKLE_MUTATOR_H

#include "fuzz.h"

/* The bytes of n lines from `at` on. */
static size_t fuzz_lines(const uint8_t *bytes, size_t size, size_t at, size_t n)
{
    size_t end = at;
    for (; n > 0 && end < size; end++)
        n -= bytes[end] == '\n';
    return end - at;
}

/* The bytes of the opcode at `at`, at most what is left. */
static size_t fuzz_opcode_size(const uint8_t *bytes, size_t size, size_t at)
{
    static const uint8_t one[] = "\x80Khq\x82", two[] = "M\x83", four[] = "Jrj\x84",
                         eight[] = "G\x95";
    static const uint8_t text1[] = "UC\x8c\x8a", text4[] = "XTB\x8b", text8[] = "\x8d\x8e\x96";
    const uint8_t op = bytes[at];
    size_t left = size - at, n = 1, length = 0, prefix = 0;
    if (memchr(one, op, sizeof one - 1))
        n = 2;
    else if (memchr(two, op, sizeof two - 1))
        n = 3;
    else if (memchr(four, op, sizeof four - 1))
        n = 5;
    else if (memchr(eight, op, sizeof eight - 1))
        n = 9;
    else if (op == 'c')
        n = 1 + fuzz_lines(bytes, size, at + 1, 2);
    else if (memchr(text1, op, sizeof text1 - 1))
        prefix = 1;
    else if (memchr(text4, op, sizeof text4 - 1))
        prefix = 4;
    else if (memchr(text8, op, sizeof text8 - 1))
        prefix = 8;
    for (size_t i = 0; i < prefix && i < 3 && at + 1 + i < size; i++)
        length |= (size_t)bytes[at + 1 + i] << 8 * i;
    n += prefix + length;
    return n < left ? n : left;
}

/* The start of an opcode. */
static size_t fuzz_choose_opcode(const uint8_t *bytes, size_t size, unsigned random)
{
    size_t n = 0, at = 0;
    for (size_t i = 0; i < size; i += fuzz_opcode_size(bytes, size, i))
        n++;
    for (size_t i = n ? random % n : 0; i > 0; i--)
        at += fuzz_opcode_size(bytes, size, at);
    return at;
}

static size_t fuzz_insert(uint8_t *bytes, size_t size, size_t max, size_t at, const void *new,
                          size_t n)
{
    if (n > max - size)
        return size;
    uint8_t *copy = fuzz_copy(new, n);
    memmove(bytes + at + n, bytes + at, size - at);
    memcpy(bytes + at, copy, n);
    free(copy);
    return size + n;
}

static const struct {
    const char *bytes;
    size_t size;
} fuzz_opcodes[] = {
#define OPCODES(text)                                                                              \
    {                                                                                              \
        text, sizeof text - 1                                                                      \
    }
    OPCODES("ctorch._utils\n_rebuild_tensor_v2\n"),
    OPCODES("ctorch._utils\n_rebuild_tensor_v3\n"),
    OPCODES("ctorch._utils\n_rebuild_parameter\n"),
    OPCODES("ctorch._utils\n_rebuild_qtensor\n"),
    OPCODES("ctorch._tensor\n_rebuild_from_type_v2\n"),
    OPCODES("ctorch\nFloatStorage\n"),
    OPCODES("ctorch\nComplexDoubleStorage\n"),
    OPCODES("ctorch\nUntypedStorage\n"),
    OPCODES("ctorch\nfloat8_e4m3fn\n"),
    OPCODES("ctorch\nTensor\n"),
    OPCODES("ctorch\nSize\n"),
    OPCODES("ccollections\nOrderedDict\n"),
    OPCODES("ccollections\ndefaultdict\n"),
    OPCODES("cargparse\nNamespace\n"),
    OPCODES("X\5\0\0\0model"),
    OPCODES("X\12\0\0\0state_dict"),
    OPCODES("X\14\0\0\0param_groups"),
    OPCODES("X\5\0\0\0state"),
    OPCODES("X\3\0\0\0neg\210"),
    OPCODES("X\7\0\0\0storage"),
    OPCODES("(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0"
            "0X\3\0\0\0cpuK\6tQ"),
    OPCODES("K\0K\2\205K\1\205"),
    OPCODES(")R"),
    OPCODES(")\201"),
    OPCODES(")}\222"),
    OPCODES("}b"),
    OPCODES("]"),
    OPCODES("}"),
    OPCODES("("),
    OPCODES("]("),
    OPCODES("]((K\1K\2lee"),
    OPCODES("}("),
    OPCODES("u"),
    OPCODES("s"),
    OPCODES("e"),
    OPCODES("t"),
    OPCODES("R"),
    OPCODES("\205R"),
    OPCODES("0"),
    OPCODES("1"),
    OPCODES("\217(\220"),
    OPCODES("(\221"),
    OPCODES("\224"),
    OPCODES("\223"),
    OPCODES("h\0"),
    OPCODES("h\1"),
    OPCODES("h\4"),
    OPCODES("."),
#undef OPCODES
};

/* One change; the new size. */
static size_t fuzz_mutate_pickle_once(uint8_t *bytes, size_t size, size_t max, unsigned random)
{
    if (size == 0)
        return LLVMFuzzerMutate(bytes, size, max);
    size_t at = fuzz_choose_opcode(bytes, size, random / 8);
    size_t n = fuzz_opcode_size(bytes, size, at);
    size_t to = fuzz_choose_opcode(bytes, size, random / 8 * 2654435761u >> 7);
    const size_t known = sizeof fuzz_opcodes / sizeof *fuzz_opcodes, i = random / 8 % known;
    switch (random % 8) {
    case 0:
        memmove(bytes + at, bytes + at + n, size - at - n);
        return size - n;
    case 1: /* some opcodes again */
    case 2:
        for (size_t more = random / 8 % 16; more > 0 && at + n < size; more--)
            n += fuzz_opcode_size(bytes, size, at + n);
        return fuzz_insert(bytes, size, max, to, bytes + at, n);
    case 3: /* memoized */
        return fuzz_insert(bytes, size, max, at, (uint8_t[]){'h', (uint8_t)(random >> 8)}, 2);
    case 4:
        fuzz_mutate_part(bytes, &size, max, at, n);
        return size;
    default:
        return fuzz_insert(bytes, size, max, to, fuzz_opcodes[i].bytes, fuzz_opcodes[i].size);
    }
}

static size_t fuzz_mutate_pickle(uint8_t *bytes, size_t size, size_t max, unsigned seed)
{
    if (seed % 8 == 0)
        return LLVMFuzzerMutate(bytes, size, max);
    for (unsigned i = 0, random = seed; i < 1 + seed / 8 % 4; i++) {
        random = random * 1664525u + 1013904223u;
        size = fuzz_mutate_pickle_once(bytes, size, max, random >> 4);
    }
    return size;
}

#endif
