#include "foreign_format.h"

#include "glob_pattern.h"
#include "little_endian.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

/* ---- the formats ----------------------------------------------------------------------------- */

static const struct foreign_format onnx = {
    "an ONNX model", "use the model that it was exported from, or save its initializers as "
                     "safetensors with the onnx package"};
static const struct foreign_format hdf5 = {
    "an HDF5 file (Keras, TensorFlow)",
    "load it with Keras or h5py, and save its weights as safetensors"};
static const struct foreign_format keras = {
    "a Keras archive", "load it with Keras, and save its weights as safetensors"};
static const struct foreign_format tensorflow = {
    "a TensorFlow model", "load it with TensorFlow, and save its variables as safetensors"};
static const struct foreign_format tflite = {"a TensorFlow Lite model",
                                             "use the model that it was converted from"};
static const struct foreign_format coreml = {"a Core ML model",
                                             "use the model that it was converted from"};
static const struct foreign_format executorch = {"an ExecuTorch program",
                                                 "use the model that it was exported from"};
static const struct foreign_format flax = {
    "a Flax msgpack file", "load it with from_pretrained(..., from_flax=True), and save it as "
                           "safetensors"};
static const struct foreign_format orbax = {"an Orbax checkpoint",
                                            "restore it with Orbax, and save it as safetensors"};
static const struct foreign_format ggml = {
    "a GGML file of before GGUF", "convert the original model again, to GGUF or safetensors"};
static const struct foreign_format npy = {"a single numpy array",
                                          "save it under a name with safetensors.numpy.save_file"};
static const struct foreign_format pt2 = {
    "a program of torch.export (PT2)",
    "save torch.export.load(FILE).state_dict with torch.save or as safetensors"};
static const struct foreign_format distributed = {
    "part of a torch.distributed checkpoint",
    "run python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER OUT.pt"};
static const struct foreign_format paddle = {
    "a PaddlePaddle file", "load it with PaddlePaddle, and save it as safetensors"};
static const struct foreign_format pickle = {"a pickle that torch.save did not write",
                                             "load it in Python, and save its tensors as "
                                             "safetensors"};
static const struct foreign_format incomplete = {"an incomplete download",
                                                 "finish the download, or remove the file"};
static const struct foreign_format zeros = {
    "a file that starts with zeros only, like an incomplete download", "download it again"};
static const struct foreign_format page = {"a web page or an error message in place of the file",
                                           "download it again, logged in if the "
                                           "model needs that"};
static const struct foreign_format xml = {
    "an XML document, which may be a server's error message in place of the file",
    "download it again if it should contain weights"};
static const struct foreign_format packed = {"an archive of a kind that is not supported",
                                             "unpack it, or use tar or zip, with gzip, zstd or "
                                             "xz"};

/* ---- magic numbers --------------------------------------------------------------------------- */

static const struct magic {
    size_t offset;
    const char *bytes;
    size_t length;
    const struct foreign_format *format;
} magics[] = {
    {0, "\x89HDF\r\n\x1a\n", 8, &hdf5},
    {0, "\x93NUMPY", 6, &npy},
    {4, "TFL3", 4, &tflite},     /* FlatBuffers: the file identifier */
    {4, "ET12", 4, &executorch}, /* the same */
    {0, "lmgg", 4, &ggml},       /* 0x67676d6c, little-endian: llama.cpp before August 2023 */
    {0, "fmgg", 4, &ggml},
    {0, "tjgg", 4, &ggml},
    {0, "7z\xbc\xaf\x27\x1c", 6, &packed},
    {0, "Rar!\x1a\x07", 6, &packed},
    {4, "1AY&SY", 6, &packed},           /* bzip2 */
    {0, "\x04\x22\x4d\x18", 4, &packed}, /* lz4 */
    {0, "<!DOCTYPE", 9, &page},
    {0, "<!doctype", 9, &page},
    {0, "<html", 5, &page},
    {0, "<?xml", 5, &xml},
    {0, "Entry not found", 15, &page}, /* the Hugging Face Hub */
    {0, "Access to model", 15, &page},
    {0, "Invalid username", 16, &page},
};

static const struct foreign_format *find_magic(const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++)
        if (n >= magics[i].offset + magics[i].length &&
            memcmp(bytes + magics[i].offset, magics[i].bytes, magics[i].length) == 0)
            return magics[i].format;
    return NULL;
}

/* ---- formats without a magic number -----------------------------------------------------------
 */

/* The protobuf messages of ONNX, Core ML and TensorFlow start with their version, field 1, a varint
 * (tag 0x08). Then, as field 2 (tag 0x12) with a length, ONNX has the name of its producer,
 * Core ML and TensorFlow have a message, which starts with a tag. ONNX may go on with another field
 * of its ModelProto: 3, 4, 6 and 7, or the version of its model, 5. TensorFlow's version is 1,
 * which ONNX does not have. */
static const struct foreign_format *detect_protobuf(const unsigned char *bytes, size_t n)
{
    if (n < 16 || bytes[0] != 0x08 || bytes[1] == 0 || bytes[1] > 0x3f)
        return NULL;
    if (bytes[2] == 0x12) {
        size_t at = 3;
        while (at < 12 && bytes[at] & 0x80)
            at++;
        if (isalpha(bytes[at + 1]) && bytes[1] > 1)
            return &onnx;
        return bytes[1] == 1 ? &tensorflow : bytes[at + 1] == 0x0a ? &coreml : NULL;
    }
    bool is_field = bytes[2] && strchr("\x1a\x22\x28\x32\x3a\x42", bytes[2]);
    return is_field && bytes[1] > 1 ? &onnx : NULL;
}

/* Flax writes a msgpack map whose first key is a string of letters. */
static bool is_msgpack_map(const unsigned char *bytes, size_t n)
{
    size_t at = bytes[0] == 0xde ? 3 : bytes[0] == 0xdf ? 5 : 1;
    bool is_map = at > 1 || (bytes[0] > 0x80 && bytes[0] <= 0x8f);
    if (!is_map || n < at + 3 || bytes[at] <= 0xa0 || bytes[at] > 0xbf)
        return false;
    return isalpha(bytes[at + 1]) || bytes[at + 1] == '_';
}

/* The length of a header of safetensors, below 4 GiB. */
static bool may_be_header_length(const unsigned char *bytes)
{
    return little_endian_read(bytes + 4, 4) == 0;
}

/* PROTO 2 to 5, then a FRAME, whose length is eight bytes, or an opcode that starts a value. */
static bool is_pickle(const unsigned char *bytes)
{
    if (bytes[0] != 0x80 || bytes[1] < 2 || bytes[1] > 5)
        return false;
    if (bytes[2] == 0x95)
        return little_endian_read(bytes + 8, 3) == 0;
    return !may_be_header_length(bytes) && bytes[2] && strchr("}](cXUKJMNGB)\x8a\x8c", bytes[2]);
}

static bool is_zero(const unsigned char *bytes, size_t n)
{
    size_t size = n < 512 ? n : 512;
    return size >= 16 && bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

const struct foreign_format *foreign_format_detect(const unsigned char *bytes, size_t n)
{
    const struct foreign_format *found = find_magic(bytes, n);
    if (found || n < 16)
        return found;
    if (is_zero(bytes, n))
        return &zeros;
    if (is_pickle(bytes))
        return &pickle;
    if (may_be_header_length(bytes))
        return NULL;
    if (is_msgpack_map(bytes, n))
        return &flax;
    return detect_protobuf(bytes, n);
}

/* ---- zips ------------------------------------------------------------------------------------ */

const struct foreign_format *foreign_format_of_zip(const struct zip *z)
{
    static const struct {
        const char *ending;
        const struct foreign_format *format;
    } records[] = {
        {"/archive_format", &pt2}, /* torch.export since torch 2.8 */
        {"serialized_exported_program.json", &pt2},
        {"model.weights.h5", &keras},
        {"Data/com.apple.CoreML/model.mlmodel", &coreml},
    };
    for (size_t r = 0; r < sizeof records / sizeof *records; r++)
        for (size_t i = 0; i < z->n; i++)
            if (glob_pattern_text_ends_with(z->entries[i].name, records[r].ending))
                return records[r].format;
    return NULL;
}

/* ---- names ----------------------------------------------------------------------------------- */

const struct foreign_format *foreign_format_of_name(const char *name)
{
    static const struct {
        const char *pattern;
        const struct foreign_format *format;
    } names[] = {
        {"*.incomplete", &incomplete},
        {"*.part", &incomplete},
        {"*.crdownload", &incomplete},
        {"*.download", &incomplete},
        {"*.aria2", &incomplete},
        {"*.onnx", &onnx},
        {"*.onnx_data", &onnx},
        {"*.h5", &hdf5},
        {"*.hdf5", &hdf5},
        {"*.keras", &keras},
        {"*.msgpack", &flax},
        {"*.tflite", &tflite},
        {"*.mlmodel", &coreml},
        {"*.mlpackage", &coreml},
        {"*.pte", &executorch},
        {"*.distcp", &distributed},
        {"*.pdparams", &paddle},
        {"*saved_model.pb", &tensorflow},
        {"*.ckpt.index", &tensorflow},
        {"*.ckpt.meta", &tensorflow},
        {"*.data-????\?-of-????\?", &tensorflow},
        {"*.pt2", &pt2},
        {"*manifest.ocdbt", &orbax},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (glob_pattern_matches(names[i].pattern, name))
            return names[i].format;
    return NULL;
}

/* A .distcp file starts with the zip of its first tensor. */
const struct foreign_format *foreign_format_of_file(const char *name, bool recognized)
{
    const struct foreign_format *f = foreign_format_of_name(name);
    return !recognized || f == &distributed ? f : NULL;
}

int foreign_format_set_error(const char *file, const struct foreign_format *f, struct error *e)
{
    return error_set(e, "%s is %s; %s", file, f->what, f->advice);
}
