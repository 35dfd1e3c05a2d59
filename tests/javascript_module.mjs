/* Tests share/etl/tvstream.mjs: node javascript_module.mjs MODULE. Prints the first failure and exits with 1. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'

const { Reader, StageFailed, StreamError, Writer, Xxh3, decode, decoded, encode, spans, weightAt, whole } =
  await import(process.argv[2])

/* ---- hashes: lines "SIZE HASH" of standard input, for the bytes i * i * 31 + i * 7 modulo 256 ---- */

for (const line of readFileSync(0, 'utf8').trim().split('\n')) {
  const [size, wanted] = line.split(' '), bytes = Uint8Array.from({ length: size }, (_, i) => i * i * 31 + i * 7)
  const hash = (...cuts) => {
    const h = new Xxh3()
    for (let at = 0; at < bytes.length || at === 0;) {
      const n = cuts.length > 1 ? cuts.shift() : cuts[0]
      h.update(bytes.subarray(at, at + n))
      at += n
    }
    return Buffer.from(h.digest()).toString('hex')
  }
  for (const cuts of [[bytes.length + 1], [1], [64], [100, 1000], [241, 7]])
    assert.equal(hash(...cuts), wanted, `hash of ${size} bytes in pieces of ${cuts}`)
}

/* ---- numbers of 16 bits ---- */

const all = new Uint8Array(Uint16Array.from({ length: 65536 }, (_, i) => i).buffer)
for (const dtype of ['F16', 'BF16']) {
  const numbers = decode(dtype, all), back = new Uint16Array(encode(dtype, numbers).buffer)
  for (const [i, x] of numbers.entries())
    if (!Number.isNaN(x)) assert.equal(back[i], i, `${dtype} ${i}`)
  assert.equal(decode(dtype, encode(dtype, numbers)).filter(Number.isNaN).length, numbers.filter(Number.isNaN).length)
}
const rounded = (dtype, x) => decode(dtype, encode(dtype, [x]))[0]
for (const [dtype, x, wanted] of [
  ['BF16', 1 + 2 ** -8, 1], ['BF16', 1 + 3 * 2 ** -8, 1 + 2 ** -6], ['BF16', -1 - 2 ** -8, -1], ['BF16', 3.4e38, Infinity],
  ['BF16', 1 + 2 ** -8 + 2 ** -20, 1 + 2 ** -7], ['F16', 1 + 2 ** -11, 1], ['F16', 1 + 3 * 2 ** -11, 1 + 2 ** -9],
  ['F16', 65519, 65504], ['F16', -65520, -Infinity], ['F16', 2 ** -25, 0], ['F16', 3 * 2 ** -25, 2 ** -23],
  ['F16', 2 ** -14 - 2 ** -26, 2 ** -14], ['F16', 2047.5, 2048], ['F16', -0, -0]])
  assert.equal(rounded(dtype, x), wanted, `${dtype} of ${x}`)

/* ---- a stream, written and read ---- */

const scalar = { name: 's', shape: [], vectors: [{ model: 1, dtype: 'C64' }] }
const payloadOf = (n) =>
  [Float32Array.from({ length: n }, (_, i) => i % 256), BigInt64Array.from({ length: n }, (_, i) => BigInt(-i))]

async function write(shape, payload) {
  const pieces = [], writer = new Writer(async (bytes) => pieces.push(bytes))
  const tensor = {
    name: 'w', shape, layer: [0, 1], 'example.big': 2n ** 63n,
    vectors: [{ model: 0, dtype: 'BF16', weight: [1, 2.5] }, { model: 1, dtype: 'I64' }],
  }
  await writer.header({ kind: 'weights', models: [{ name: 'math' }, { name: 'code' }], tensors: [tensor, scalar] })
  await writer.begin(tensor)
  for (const { first, n } of spans(tensor)) await writer.block(payload.map((x) => x.subarray(first, first + n)))
  await writer.finish()
  await writer.tensor(scalar, [[Float32Array.of(1, -2)]])
  await writer.end({ math: new Uint8Array(8) })
  return Buffer.concat(pieces)
}

/* A source that gives one byte at a time first, and later large pieces. */
async function* slowly(bytes) {
  for (let at = 0, n = 1; at < bytes.length; at += n, n = at < 3000 ? 1 : 5001) yield bytes.subarray(at, at + n)
}

const n = 3 * 43691, payload = payloadOf(n), bytes = await write([3, 43691], payload)
const stream = () => new Blob([bytes]).stream()
const sources = [() => bytes, () => [bytes], () => slowly(bytes), stream, () => ({ getReader: () => stream().getReader() })]
for (const source of sources) {
  const reader = await Reader.open(source()), found = []
  for await (const { tensor, blocks } of reader) found.push([tensor, await whole(tensor, decoded(tensor, blocks))])
  assert.deepEqual(found[0][1], payload)
  assert.deepEqual(found[1][1], [Float32Array.of(1, -2)])
  assert.equal(found[0][0]['example.big'], 2n ** 63n)
  assert.deepEqual([0, 65536, 65537, n - 1].map((i) => weightAt(found[0][0], 0, i)), [1, 1, 2.5, 2.5])
  assert.deepEqual({ ...reader.end.hashes }, { math: new Uint8Array(8) })
}

/* Blocks that are not read are skipped, and verified. */
const names = []
for await (const { tensor, blocks } of await Reader.open(bytes)) {
  names.push(tensor.name)
  for await (const block of blocks) if (block) break
}
assert.deepEqual(names, ['w', 's'])

async function read(bytes) {
  for await (const { blocks } of await Reader.open(bytes)) for await (const block of blocks) assert(block)
}

/* ---- refusals: cut and flipped ---- */

const small = await write([2, 3], payloadOf(6))
await read(small)
for (let at = 0; at < small.length; at++) {
  await assert.rejects(read(small.subarray(0, at)), StreamError, `cut at ${at}`)
  const flipped = Uint8Array.from(small)
  flipped[at] ^= 1 << at % 8
  await assert.rejects(read(flipped), StreamError, `flipped at ${at}`)
}

/* ---- what a writer refuses ---- */

const writing = async (header, tensor, ...blocks) => {
  const writer = new Writer(async () => {})
  await writer.header(header)
  await writer.tensor(tensor, blocks)
  await writer.end()
}
const one = { name: 'w', shape: [2], vectors: [{ model: 0, dtype: 'F32' }] }
const ones = { kind: 'weights', models: [{ name: 'math' }], tensors: [one] }
await writing(ones, one, [[1, 2]])
for (const [what, ...call] of [
  [/non-finite number at flat index 1/, ones, one, [[1, NaN]]], [/12 bytes instead of 8/, ones, one, [[1, 2, 3]]],
  [/too few blocks/, ones, one], [/too many blocks/, ones, one, [[1, 2]], [[3, 4]]],
  [/does not match the manifest/, ones, { ...one, name: 'x' }, [[1, 2]]], [/kind/, { ...ones, kind: 'x' }, one],
  [/0 tensors were written|does not match/, { ...ones, tensors: [] }, one, [[1, 2]]]])
  await assert.rejects(writing(...call), (e) => e instanceof StreamError && what.test(e.message), String(what))

/* An error record, also before the header. */
for (const start of [false, true]) {
  const pieces = [], writer = new Writer(async (bytes) => pieces.push(bytes))
  if (start) await writer.header(ones)
  await writer.error('trim', 'it broke')
  await assert.rejects(read(Buffer.concat(pieces)), (e) =>
    e instanceof StageFailed && e.stage === 'trim' && e.sentence === 'it broke')
}
console.log('ok')
