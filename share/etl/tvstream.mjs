/* Tensor streams (share/stream.md) in JavaScript, for writing stages of tvtools pipelines. Node 18 or later;
 * Reader and Writer also work in Deno and in browsers. No packages are needed.
 *
 *     import { transform } from './tvstream.mjs'
 *
 *     transform((tensor, vectors) => vectors.map((x) => x.map((value) => value / 2)))
 *
 * `transform` turns a function into a stage. Joins, sources and sinks use Reader and Writer instead. A
 * stream is read and written block by block: memory depends on the size of a block, or with scope: 'tensor'
 * of a tensor, never on the size of the model. */
import { Ext, Float, binHead, concatenate, isMap, pack, packInt, unpack, withNumbers } from './msgpack.mjs'
import { Xxh3 } from './xxh3.mjs'

export { Ext, Xxh3 }

export const KINDS = ['weights', 'task-vectors', 'activations']
export const FLOATS = ['F16', 'BF16', 'F32', 'F64']

/* Bits of each dtype. */
export const DTYPES = {
  BOOL: 8, F4: 4, F6_E2M3: 6, F6_E3M2: 6, U8: 8, I8: 8, F8_E5M2: 8, F8_E4M3: 8, F8_E8M0: 8,
  F8_E4M3FNUZ: 8, F8_E5M2FNUZ: 8, I16: 16, U16: 16, F16: 16, BF16: 16, I32: 32, U32: 32, F32: 32,
  C64: 64, F64: 64, I64: 64, U64: 64,
}

const MAGIC = Uint8Array.of(0xa4, 0x54, 0x56, 0x53, 0x31)
const MAP_MAX = 2 ** 28
const DEPTH_MAX = 31
const RANK_MAX = 16
const LAYERS_MAX = 2 ** 31 - 1
const BLOCK = 65536
const LONG_ROW = 2 ** 20

/* One sentence. Throw it in a stage to fail with that sentence. */
export class StreamError extends Error {}

/* The stream contains the error record of an earlier stage. */
export class StageFailed extends StreamError {
  constructor(stage, sentence) {
    super(sentence)
    this.stage = stage
    this.sentence = sentence
  }
}

function require(condition, sentence) {
  if (!condition) throw new StreamError(`broken stream: ${sentence}`)
}

/* ---- tensors ------------------------------------------------------------------------------------ */

export const elements = (tensor) => Number(tensor.shape.reduce((n, d) => n * BigInt(d), 1n))

/* Elements of a row: the last dimension, 1 for a scalar. */
export const columns = (tensor) => Number(tensor.shape.length ? tensor.shape.at(-1) : 1)

export const isFloat = (tensor) => tensor.vectors.every((v) => FLOATS.includes(v.dtype))

/* Elements of a full block. */
export function blockElements(tensor) {
  const n = elements(tensor), c = columns(tensor)
  if (n === 0 || tensor.vectors.some((v) => DTYPES[v.dtype] < 8)) return n
  return c > LONG_ROW ? BLOCK : Math.min(n, Math.max(1, Math.floor(BLOCK / c)) * c)
}

/* { first, n } of each block: its first element and number of elements. */
export function* spans(tensor) {
  const n = elements(tensor), c = columns(tensor), block = blockElements(tensor)
  const unit = c > LONG_ROW && block < n ? c : n // elements that are split into blocks separately
  for (let start = 0; start < n; start += unit)
    for (let first = start; first < start + unit; first += block)
      yield { first, n: Math.min(block, start + unit - first) }
}

/* The weight of vector k for the element with this flat index. */
export function weightAt(tensor, k, index) {
  const w = tensor.vectors[k].weight ?? 1
  return Array.isArray(w) ? w[Math.floor(index / Math.ceil(elements(tensor) / w.length))] : w
}

/* ---- payload ------------------------------------------------------------------------------------- */

/* An array of this type with f(x) of each element. Several times as fast as Type.from(x, f). */
function mapTo(Type, x, f) {
  const y = new Type(x.length)
  for (let i = 0; i < x.length; i++) y[i] = f(x[i])
  return y
}

function fromF16(h) {
  const exponent = h >> 10 & 31, fraction = h & 1023, sign = h & 0x8000 ? -1 : 1
  if (exponent === 31) return fraction ? NaN : sign * Infinity
  return sign * (exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24)
}

function roundHalfToEven(x) {
  const floor = Math.floor(x), rest = x - floor
  return rest > 0.5 || (rest === 0.5 && floor % 2) ? floor + 1 : floor
}

const DOUBLE = new DataView(new ArrayBuffer(8))

function toF16(x) {
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0, size = Math.abs(x)
  if (Number.isNaN(x)) return 0x7e00
  if (size >= 65520) return sign | 0x7c00
  if (size < 2 ** -14) return sign | roundHalfToEven(size * 2 ** 24)
  DOUBLE.setFloat64(0, size)
  const exponent = (DOUBLE.getUint16(0) >> 4) - 1023
  return sign | (roundHalfToEven(size * 2 ** (10 - exponent)) + ((exponent + 14) << 10)) // 1024 adds 1 to the exponent
}

/* The upper half of an F32, given as bits, rounded. */
function toBf16(bits) {
  return (bits & 0x7fffffff) > 0x7f800000 ? bits >>> 16 | 0x40 : (bits + 0x7fff + (bits >>> 16 & 1)) >>> 16
}

/* Payload is little-endian, a typed array is as the processor. */
if (new Uint8Array(Uint16Array.of(1).buffer)[0] !== 1) throw new Error('tvstream.mjs needs a little-endian processor')

const ARRAYS = {
  I8: Int8Array, I16: Int16Array, U16: Uint16Array, I32: Int32Array, U32: Uint32Array, I64: BigInt64Array,
  U64: BigUint64Array, F16: Uint16Array, BF16: Uint16Array, F32: Float32Array, C64: Float32Array, F64: Float64Array,
}

/* Payload as an array: F16 and BF16 as Float32Array, C64 as pairs, BOOL, F8 and smaller as bytes. */
export function decode(dtype, bytes) {
  const Type = ARRAYS[dtype] ?? Uint8Array
  const array = new Type(new Uint8Array(bytes).buffer)
  if (dtype === 'BF16') return new Float32Array(mapTo(Uint32Array, array, (bits) => bits << 16).buffer)
  return dtype === 'F16' ? mapTo(Float32Array, array, fromF16) : array
}

/* The inverse of decode, rounding to nearest even. */
export function encode(dtype, array) {
  const Type = ARRAYS[dtype] ?? Uint8Array
  const numbers = dtype === 'BF16' ? mapTo(Type, new Uint32Array(new Float32Array(array).buffer), toBf16)
    : dtype === 'F16' ? mapTo(Type, array, toF16) : array instanceof Type ? array : new Type(array)
  return new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength)
}

function checkFinite(tensor, k, first, array) {
  if (!FLOATS.includes(tensor.vectors[k].dtype)) return
  for (let i = 0; i < array.length; i++)
    if (array[i] - array[i] !== 0)
      throw new StreamError(`tensor ${tensor.name}, vector ${k}: non-finite number at flat index ${first + i}`)
}

/* Converts blocks of bytes to blocks of arrays. */
export async function* decoded(tensor, blocks, allowNonfinite = false) {
  const places = spans(tensor)
  for await (const block of blocks) {
    const { first } = places.next().value
    yield block.map((bytes, k) => {
      const array = decode(tensor.vectors[k].dtype, bytes)
      if (!allowNonfinite) checkFinite(tensor, k, first, array)
      return array
    })
  }
}

/* Joins blocks of arrays to one array per vector. Not for F4 and F6, which have one block. */
export async function whole(tensor, blocks) {
  const n = elements(tensor)
  const arrays = tensor.vectors.map((v) => decode(v.dtype, new Uint8Array(n * DTYPES[v.dtype] / 8)))
  const places = spans(tensor)
  for await (const block of blocks) {
    const span = places.next().value
    block.forEach((array, k) => arrays[k].set(array, span.first * (array.length / span.n)))
  }
  return arrays
}

/* Splits arrays into blocks: the inverse of whole. */
export function* cut(tensor, arrays) {
  for (const { first, n } of spans(tensor))
    yield arrays.map((array, k) => {
      const each = tensor.vectors[k].dtype === 'C64' ? 2 : 1
      return array.subarray(first * each, (first + n) * each)
    })
}

/* ---- records ------------------------------------------------------------------------------------- */

const isInt = (x) => Number.isSafeInteger(x) || typeof x === 'bigint'
const isCount = (x) => isInt(x) && x >= 0
const isNumber = (x) => x instanceof Float || Number.isFinite(x) || typeof x === 'bigint'
const isText = (x) => typeof x === 'string' && !x.includes('\0')
const isBin = (x) => x instanceof Uint8Array
const isHash = (x) => isBin(x) && x.length === 8
const isDtype = (x) => typeof x === 'string' && Object.hasOwn(DTYPES, x)

function unpackRecord(bytes) {
  let record
  try {
    record = unpack(bytes, DEPTH_MAX)
  } catch (e) {
    if (!(e instanceof RangeError || e instanceof TypeError)) throw e
    throw new StreamError(`broken stream: a record is not one valid msgpack map (${e.message})`)
  }
  require(isMap(record), 'a record is not a map')
  return record
}

/* The pairs of a vector's payload attributes; undefined if they are not a map. */
function attributesOf({ payload = {} }) {
  return payload instanceof Map ? [...payload] : isMap(payload) ? Object.entries(payload) : undefined
}

/* Of a key that may be absent. */
const absentOr = (check, x) => x === undefined || check(x)

function checkWeight(name, weight, n) {
  const list = Array.isArray(weight) ? weight : [weight ?? 1], m = list.length
  require(weight !== null && m > 0 && list.every(isNumber), `weight of tensor ${name} is not a finite number`)
  require(m === 1 || (m <= n && (m - 1) * Math.ceil(n / m) < n),
    `the list of weights of tensor ${name} does not fit its number of elements`)
}

function checkJoined(name, vectors, n) {
  if (vectors === undefined) return
  require(Array.isArray(vectors), `joined of tensor ${name} is not a list`)
  for (const v of vectors) {
    require(isMap(v) && isText(v.name), `a joined vector of tensor ${name} has no name`)
    checkWeight(name, v.weight, n)
    checkJoined(name, v.joined, n)
  }
}

function checkVector(tensor, v, n, models) {
  const { name } = tensor
  require(isMap(v), `a vector of tensor ${name} is not a map`)
  require(isCount(v.model) && v.model < models, `a vector of tensor ${name} belongs to no model`)
  require(isDtype(v.dtype) && absentOr(isDtype, v.stored),
    `dtype or stored of tensor ${name} is not a dtype of safetensors`)
  require(v.source === null || absentOr(isText, v.source), `source of tensor ${name} is not a str`)
  checkWeight(name, v.weight, n)
  checkJoined(name, v.joined, n)
  const attributes = attributesOf(v)
  require(v.payload === undefined || (attributes &&
    attributes.every(([key, x]) => isNumber(x) || !['l1_before', 'l1', 'keep'].includes(key))),
    `payload attributes of tensor ${name} are not numbers`)
  require(DTYPES[v.dtype] * n % 8 === 0, `tensor ${name} does not fill whole bytes`)
}

/* Throws a StreamError unless t is a valid manifest entry or tensor header. */
export function checkTensor(t, models) {
  require(isMap(t), 'a tensor is not a map')
  require(isText(t.name), 'a tensor has no name')
  const { name, shape } = t
  require(Array.isArray(shape) && shape.length <= RANK_MAX && shape.every(isCount) &&
    shape.reduce((size, d) => size * BigInt(d || 1), 8n) < 1n << 63n, `shape of tensor ${name} is invalid or too large`)
  require(absentOr(isText, t.base), `base of tensor ${name} is not a str`)
  require(t.layer === undefined || (Array.isArray(t.layer) && t.layer.length === 2 && t.layer.every(isCount) &&
    t.layer[0] < t.layer[1] && t.layer[1] <= LAYERS_MAX), `layer of tensor ${name} is invalid`)
  require(Array.isArray(t.vectors) && t.vectors.length > 0, `tensor ${name} has no vectors`)
  const n = elements(t)
  for (const v of t.vectors) checkVector(t, v, n, models)
  require(t.vectors.every((v, k) => k === 0 || v.model > t.vectors[k - 1].model),
    `vectors of tensor ${name} are not in order of the models`)
  require(t.block === undefined || t.block === blockElements(t), `block of tensor ${name} does not fit its shape`)
}

function checkHistory(history) {
  if (history === undefined) return
  require(Array.isArray(history), 'history is not a list')
  for (const step of history) {
    require(isMap(step) && isText(step.tool) && isText(step.version) && Array.isArray(step.arguments) &&
      step.arguments.every(isText), 'a step of the history lacks tool, version or arguments')
    require(step.fingerprints === undefined || (Array.isArray(step.fingerprints) && step.fingerprints.every(isHash)),
      'fingerprints of a step are not a list of bins of 8 bytes')
    require(absentOr(isText, step.blas), 'the blas of a step is not a str')
    require(absentOr(Array.isArray, step.parents), 'parents of a step are not a list')
    for (const parent of step.parents ?? []) {
      require(Array.isArray(parent), 'a parent of a step is not a list')
      checkHistory(parent)
    }
  }
}

/* Throws a StreamError unless h is a valid stream header. */
export function checkHeader(h) {
  require(h.record === 'header', 'the first record is not the header')
  if (h.version !== 1) throw new StreamError('the stream does not have format version 1, which this program reads')
  require(KINDS.includes(h.kind), 'the kind is unknown')
  require(absentOr(isDtype, h.rounding), 'rounding is not a dtype of safetensors')
  require(Array.isArray(h.models) && Array.isArray(h.tensors), 'models or tensors of the header are not lists')
  checkHistory(h.history)
  for (const m of h.models) {
    require(isMap(m) && isText(m.name), 'a model has no name')
    require(absentOr(isHash, m.fingerprint), 'a fingerprint is not a bin of 8 bytes')
    for (const key of ['role', 'hub', 'commit', 'quantization'])
      require(absentOr(isText, m[key]), `${key} of a model is not a str`)
  }
  for (const t of h.tensors) checkTensor(t, h.models.length)
  for (const key of ['models', 'tensors'])
    require(new Set(h[key].map((x) => x.name)).size === h[key].length, `two ${key} have the same name`)
}

/* The values of a tensor header that must match the manifest. */
const manifestValues = (t) => JSON.stringify([t.name, t.shape.map(String), t.vectors.map((v) => [v.model, v.dtype])])

/* ---- reading ------------------------------------------------------------------------------------- */

/* Bytes from an array, an (async) iterable of arrays, or a ReadableStream. */
class Input {
  constructor(source) {
    if (source instanceof Uint8Array) source = [source]
    else if (!source[Symbol.asyncIterator] && source.getReader) source = chunksOf(source.getReader())
    this.chunks = (source[Symbol.asyncIterator] ?? source[Symbol.iterator]).call(source)
    this.chunk = new Uint8Array(0)
  }

  /* At most n bytes, but at least one unless the input has ended. */
  async some(n) {
    while (this.chunk.length === 0) {
      const { done, value } = await this.chunks.next()
      if (done) return this.chunk
      /* Not Node's Buffer, whose slice() is a view. */
      this.chunk = new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
    }
    const found = this.chunk.subarray(0, n)
    this.chunk = this.chunk.subarray(n)
    return found
  }

  /* n bytes; fewer if the input ends. Memory grows with what arrives. */
  async take(n) {
    const pieces = []
    for (let size = 0; size < n;) {
      const piece = await this.some(n - size)
      if (piece.length === n) return piece
      if (piece.length === 0) break
      pieces.push(piece)
      size += piece.length
    }
    return concatenate(pieces)
  }
}

async function* chunksOf(reader) {
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) yield value
}

/* Reads a stream:
 *
 *     const reader = await Reader.open(process.stdin)     // or a Uint8Array, or (await fetch(url)).body
 *     reader.header                                       // the header map
 *     for await (const { tensor, blocks } of reader)      // tensor: its header map
 *       for await (const [x, y] of decoded(tensor, blocks)) // one array per vector (here 2)
 *         ...
 *     reader.end                                          // the end map
 *
 * The reader makes every check that the format requires: it throws StreamError if the stream is invalid, and
 * StageFailed if an earlier stage has failed. Blocks that the loop body does not read are skipped. The
 * stream is verified only when the loop has ended. */
export class Reader {
  static async open(source, what = 'standard input') {
    const reader = new Reader()
    reader.input = new Input(source)
    reader.what = what
    reader.hash = new Xxh3() // of the stream, except the contents of payload bins
    reader.bytes = 0
    const magic = await reader.input.take(MAGIC.length)
    if (magic.length === 0) throw new StreamError(`${what} is empty; expected a tensor stream`)
    if (!magic.every((byte, i) => byte === MAGIC[i]))
      throw new StreamError(`${what} is not a tensor stream (it does not begin with TVS1)`)
    if (magic.length < MAGIC.length) reader.#truncated()
    reader.hash.update(magic)
    const { record } = await reader.#record('header')
    checkHeader(record)
    reader.header = withNumbers(record)
    return reader
  }

  #truncated() {
    throw new StreamError(`${this.what} is truncated: the stream ends without its end record`)
  }

  async #take(n) {
    const bytes = await this.input.take(n)
    if (bytes.length < n) this.#truncated()
    return bytes
  }

  async #takeHashed(n) {
    const bytes = await this.#take(n)
    this.hash.update(bytes)
    return bytes
  }

  /* The head of the next object: an int or a bin, and its value. */
  async #head() {
    const first = (await this.#takeHashed(1))[0]
    if (first < 0x80) return { isBin: false, size: first }
    const isBin = first >= 0xc4 && first <= 0xc6
    require(isBin || (first >= 0xcc && first <= 0xd3),
      `expected an integer or a bin, found byte 0x${first.toString(16)}`)
    const value = await this.#takeHashed(1 << (isBin ? first - 0xc4 : (first - 0xcc) % 4))
    require(first < 0xd0 || value[0] < 0x80, 'negative length')
    return { isBin, size: value.reduce((n, byte) => 256 * n + byte, 0) }
  }

  async #map(size) {
    require(size <= MAP_MAX, `a record of ${size} bytes (the maximum is ${MAP_MAX})`)
    const bytes = await this.#takeHashed(size), record = unpackRecord(bytes)
    if (record.record === 'error') throw new StageFailed(String(record.stage ?? ''), String(record.sentence ?? ''))
    return { record, bytes }
  }

  async #record(...types) {
    const { isBin, size } = await this.#head()
    require(!isBin, 'expected a record, found payload')
    const found = await this.#map(size)
    require(types.includes(found.record.record), `expected a record ${types.join(' or ')}, found another one`)
    return found
  }

  async #bin(tensor, size, checksum) {
    const found = await this.#head()
    if (!found.isBin) {
      await this.#map(found.size) // an error record, perhaps
      require(false, 'expected payload, found a record')
    }
    require(found.size === size, `a block of tensor ${tensor.name} has ${found.size} bytes instead of ${size}`)
    const bytes = await this.#take(size)
    checksum.update(bytes)
    this.bytes += size
    return bytes
  }

  async *#blocks(tensor, map) {
    const checksum = new Xxh3()
    checksum.update(map)
    for (const { n } of spans(tensor)) {
      const block = []
      for (const v of tensor.vectors) block.push(await this.#bin(tensor, DTYPES[v.dtype] * n / 8, checksum))
      yield block
    }
    const { record } = await this.#record('trailer')
    if (record.checksum === undefined) return
    require(isHash(record.checksum), 'a checksum is not a bin of 8 bytes')
    require(equal(record.checksum, checksum.digest()), `wrong checksum of tensor ${tensor.name}`)
  }

  async *[Symbol.asyncIterator]() {
    for (const entry of this.header.tensors) {
      const { record, bytes } = await this.#record('tensor', 'end')
      require(record.record === 'tensor', 'the end record comes before the last tensor')
      checkTensor(record, this.header.models.length)
      require(manifestValues(record) === manifestValues(entry), `tensor ${record.name} does not match the manifest`)
      const tensor = withNumbers(record), blocks = this.#blocks(tensor, bytes)
      /* A loop that ends early would close the generator, and the rest could not be skipped. */
      yield { tensor, blocks: { [Symbol.asyncIterator]() { return this }, next: () => blocks.next() } }
      while (!(await blocks.next()).done);
    }
    await this.#finish()
  }

  async #finish() {
    const { record } = await this.#record('end')
    require(isCount(record.tensors) && isCount(record.bytes) && record.tensors === this.header.tensors.length &&
      record.bytes === this.bytes, 'the end record has a wrong number of tensors or bytes')
    require(record.hashes === undefined || (isMap(record.hashes) && Object.keys(record.hashes).every(isText) &&
      Object.values(record.hashes).every(isHash)), 'hashes in the end record are not bins of 8 bytes')
    require(absentOr((x) => typeof x === 'boolean', record.hash), 'hash in the end record is not true or false')
    if (record.hash !== false) {
      const wanted = this.hash.digest(), { isBin, size } = await this.#head()
      require(isBin && size === 8, 'its hash is not a bin of 8 bytes')
      require(equal(await this.#take(8), wanted), 'wrong hash of its records')
    }
    require((await this.input.some(1)).length === 0, 'bytes follow its end')
    this.end = withNumbers(record)
  }
}

const equal = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i])

/* ---- writing ------------------------------------------------------------------------------------- */

/* Writes a stream through `write`, an async function that takes a Uint8Array:
 *
 *     const writer = new Writer(write)
 *     await writer.header(header)                  // written immediately
 *     await writer.tensor(tensor, blocks)          // in the manifest's order, or in steps:
 *     await writer.begin(tensor); await writer.block([x, y]); ...; await writer.finish()
 *     await writer.end(reader.end.hashes)          // passes on the hashes of the models that were read
 *
 * A block is a list with one array of numbers, or the encoded bytes (Uint8Array), per vector. Numbers are rounded
 * to the vector's dtype. The writer adds `record`, `block` and checksums. */
export class Writer {
  constructor(write, { allowNonfinite = false } = {}) {
    this.target = write
    this.allowNonfinite = allowNonfinite
    this.hash = new Xxh3()
    this.tensors = this.bytes = this.waitingBytes = 0
    this.waiting = []
    this.started = this.broken = false
  }

  async #flush() {
    const bytes = concatenate(this.waiting)
    this.waiting = []
    this.waitingBytes = 0
    try {
      await this.target(bytes)
    } catch (e) {
      this.broken = true
      throw e
    }
  }

  async #write(head, content) {
    this.hash.update(head)
    this.waiting.push(head)
    if (content) this.waiting.push(content)
    this.waitingBytes += head.length + (content ? content.length : 0)
    if (this.waitingBytes >= BLOCK) await this.#flush()
  }

  async #record(record) {
    const bytes = pack(record)
    if (bytes.length > MAP_MAX) throw new StreamError(`a record of ${bytes.length} bytes (the maximum is ${MAP_MAX})`)
    await this.#write(concatenate([packInt(bytes.length), bytes]))
    return bytes
  }

  async #start() {
    if (!this.started) await this.#write(MAGIC)
    this.started = true
  }

  async header(header) {
    this.manifest = { history: [], ...header, record: 'header', version: 1 }
    checkHeader(this.manifest)
    await this.#start()
    await this.#record(this.manifest)
    await this.#flush()
  }

  async begin(header) {
    const tensor = { ...header, record: 'tensor', block: blockElements(header) }
    checkTensor(tensor, this.manifest.models.length)
    const entry = this.manifest.tensors[this.tensors]
    if (!entry || manifestValues(entry) !== manifestValues(tensor))
      throw new StreamError(`tensor ${tensor.name} does not match the manifest`)
    this.tensors++
    this.current = tensor
    this.spans = spans(tensor)
    this.checksum = new Xxh3()
    this.checksum.update(await this.#record(tensor))
  }

  async block(vectors) {
    const tensor = this.current, { value: span } = this.spans.next()
    if (!span || vectors.length !== tensor.vectors.length)
      throw new StreamError(`tensor ${tensor.name}: too many blocks, or ${vectors.length} vectors instead of ` +
        tensor.vectors.length)
    for (const [k, x] of vectors.entries()) {
      const { dtype } = tensor.vectors[k], size = DTYPES[dtype] * span.n / 8
      const bytes = x instanceof Uint8Array ? x : encode(dtype, x)
      if (!this.allowNonfinite && bytes !== x) checkFinite(tensor, k, span.first, decode(dtype, bytes))
      if (bytes.length !== size)
        throw new StreamError(`a block of tensor ${tensor.name} has ${bytes.length} bytes instead of ${size}`)
      this.checksum.update(bytes)
      this.bytes += size
      await this.#write(binHead(size), bytes)
    }
  }

  async finish() {
    if (!this.spans.next().done) throw new StreamError(`tensor ${this.current.name}: too few blocks`)
    await this.#record({ record: 'trailer', checksum: this.checksum.digest() })
  }

  async tensor(header, blocks) {
    await this.begin(header)
    for await (const block of blocks) await this.block(block)
    await this.finish()
  }

  async end(hashes) {
    if (this.tensors !== this.manifest.tensors.length)
      throw new StreamError(`${this.tensors} tensors were written, the manifest has ${this.manifest.tensors.length}`)
    await this.#record({ record: 'end', tensors: this.tensors, bytes: this.bytes, hashes })
    await this.#write(concatenate([binHead(8), this.hash.digest()]))
    await this.#flush()
  }

  /* Writes an error record, which ends the stream; nothing after a failed write. */
  async error(stage, sentence) {
    if (this.broken) return
    await this.#start()
    await this.#record({ record: 'error', stage, sentence })
    await this.#flush()
  }
}

/* ---- stages -------------------------------------------------------------------------------------- */

/* The header with one more step in its history. */
export function addStep(header, tool, version, args) {
  return { ...header, history: [...header.history ?? [], { tool, version, arguments: args.map(String) }] }
}

function apply(change, tensor, arrays) {
  const results = change(tensor, arrays)
  if (!Array.isArray(results) || String(results.map((x) => x.length)) !== String(arrays.map((x) => x.length)))
    throw new StreamError(`tensor ${tensor.name}: the stage's function must return a list of arrays with the ` +
      'lengths of its arguments')
  return results
}

/* The tensor without payload attributes, except those in `keeps`. */
function withoutAttributes(tensor, keeps) {
  const vectors = tensor.vectors.map((v) => {
    const { payload, ...others } = v, kept = attributesOf(v).filter(([key]) => keeps.includes(key))
    return kept.length ? { ...others, payload: Object.fromEntries(kept) } : others
  })
  return { ...tensor, vectors }
}

async function* changedBlocks(change, tensor, blocks) {
  for await (const block of blocks) yield apply(change, tensor, block)
}

async function run(reader, writer, change, { scope, only, keeps, allowNonfinite }) {
  for await (const { tensor: header, blocks } of reader) {
    if (!isFloat(header) || elements(header) === 0 || (only && !only(header))) {
      await writer.tensor(header, blocks)
      continue
    }
    const tensor = withoutAttributes(header, keeps), arrays = decoded(tensor, blocks, allowNonfinite)
    if (scope === 'tensor') {
      const results = apply(change, tensor, await whole(tensor, arrays))
      await writer.tensor(tensor, cut(tensor, results))
    } else {
      await writer.tensor(tensor, changedBlocks(change, tensor, arrays))
    }
  }
  await writer.end(reader.end.hashes)
}

const printable = (text) => text.replace(/\p{C}/gu, '?')

/* Writes all bytes to a file descriptor. */
async function writeAll(fs, descriptor, bytes) {
  for (let at = 0; at < bytes.length;) {
    const written = await new Promise((resolve, reject) => fs.write(descriptor, bytes, at, bytes.length - at, null,
      (e, n) => e && e.code === 'EAGAIN' ? setTimeout(resolve, 1, 0) : e ? reject(e) : resolve(n)))
    at += written
  }
}

/* Runs the program (Node) as a stage from standard input to standard output.
 *
 * change(tensor, vectors) receives a tensor's header map and a list with one array of floats per vector, and
 * returns the list of the changed arrays. With scope 'block' the arrays are blocks of whole rows, with 'tensor' they
 * are whole tensors, and the function may also set weights and payload attributes in tensor.vectors[k]. F16 and
 * BF16 are converted to float32 on input and rounded on output.
 *
 * Tensors that are empty or not floating-point, and those for which only(tensor) is false, are passed on
 * unchanged. Weights and unknown keys are passed on. Payload attributes are dropped, except those named in
 * `keeps`, because the payload changes.
 *
 * name, version and args (default: those of the command line) form the step in the stream's history; pass
 * args explicitly if the command line contains paths. `kinds` are the kinds of streams that the stage
 * accepts. A failure is reported on standard error and in the stream, and the program exits with 1. */
export async function transform(change, { scope = 'block', name, version = '0', args, kinds = KINDS, only, keeps = [],
                                          allowNonfinite = false } = {}) {
  const [fs, path, { default: process }, tty, util] = await Promise.all(
    ['node:fs', 'node:path', 'node:process', 'node:tty', 'node:util'].map((module) => import(module)))
  name ??= path.basename(process.argv[1] ?? 'stage')
  const print = (text) => fs.writeSync(2, printable(text) + '\n')
  if (tty.isatty(1)) {
    print(`${name}: standard output is a terminal; write the tensor stream to a pipe or a file (tv-view shows it ` +
      'as text)')
    process.exit(1)
  }
  console.log = console.error // a message of the function must not be written into the stream
  const writer = new Writer((bytes) => writeAll(fs, 1, bytes), { allowNonfinite })
  try {
    if (tty.isatty(0)) throw new StreamError('standard input is a terminal; expected a tensor stream')
    const reader = await Reader.open(process.stdin)
    if (!kinds.includes(reader.header.kind))
      throw new StreamError(`the stream contains ${reader.header.kind}; expected ${kinds.join(' or ')}`)
    await writer.header(addStep(reader.header, name, version, args ?? process.argv.slice(2)))
    await run(reader, writer, change, { scope, only, keeps, allowNonfinite })
    fs.closeSync(1)
  } catch (e) {
    if (e.code === 'EPIPE') process.exit(141) // as if by SIGPIPE, which Node ignores
    let stage = name, sentence = e instanceof StreamError ? e.message : `${e.name}: ${e.message}`
    if (e.syscall) {
      const reason = util.getSystemErrorMap().get(e.errno)?.[1] ?? e.code
      const what = e.syscall === 'read' ? 'read standard input' : 'write to standard output'
      sentence = `cannot ${what}: ${reason[0].toUpperCase()}${reason.slice(1)}`
    }
    if (e instanceof StageFailed) ({ stage, sentence } = e)
    /* A failed stage has printed its sentence, unless the stream is a file. */
    if (!(e instanceof StageFailed) || fs.fstatSync(0).isFile()) print(`${stage}: ${sentence}`)
    await writer.error(stage, printable(sentence)).catch(() => {})
    process.exit(1)
  }
}
