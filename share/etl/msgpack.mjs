/* msgpack (https://msgpack.org) without loss: str and bin, int and float, ints of 64 bits and ext are told apart.
 *
 *     str    string                            int    number, or BigInt above 2^53
 *     bin    Uint8Array                        float  number, or Float if its value is an integer
 *     map    object without prototype;         ext    Ext
 *            Map if a key is not a str         nil    null */

const viewOf = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/* A value of msgpack's type ext. */
export class Ext {
  constructor(type, data) {
    this.type = type
    this.data = data
  }
}

/* A float whose value is an integer. The checks of a record tell it from an int; then it becomes a number. */
export class Float {
  constructor(value) {
    this.value = value
  }
}

export function concatenate(pieces) {
  const all = new Uint8Array(pieces.reduce((n, piece) => n + piece.length, 0))
  let at = 0
  for (const piece of pieces) {
    all.set(piece, at)
    at += piece.length
  }
  return all
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

class Unpacker {
  constructor(bytes) {
    this.bytes = bytes
    this.view = viewOf(bytes)
    this.at = 0
  }

  #take(n) {
    if (n > this.bytes.length - this.at) throw new RangeError('bytes are missing')
    this.at += n
    return this.at - n
  }

  #uint(size) {
    const at = this.#take(size)
    if (size === 8) return narrow(this.view.getBigUint64(at))
    return size === 1 ? this.view.getUint8(at) : size === 2 ? this.view.getUint16(at) : this.view.getUint32(at)
  }

  #int(size) {
    const at = this.#take(size)
    if (size === 8) return narrow(this.view.getBigInt64(at))
    return size === 1 ? this.view.getInt8(at) : size === 2 ? this.view.getInt16(at) : this.view.getInt32(at)
  }

  #float(size) {
    const at = this.#take(size)
    const x = size === 4 ? this.view.getFloat32(at) : this.view.getFloat64(at)
    return Number.isSafeInteger(x) ? new Float(x) : x
  }

  #bytes(n) {
    const at = this.#take(n)
    return this.bytes.slice(at, at + n)
  }

  #text(n) {
    const at = this.#take(n)
    return UTF8.decode(this.bytes.subarray(at, at + n))
  }

  #ext(n) {
    const type = this.#int(1)
    return new Ext(type, this.#bytes(n))
  }

  #count(n, levels) {
    if (n > this.bytes.length - this.at || (n > 0 && levels === 0)) throw new RangeError('nested too deep, or too long')
    return n
  }

  #list(n, levels) {
    return Array.from({ length: this.#count(n, levels) }, () => this.next(levels - 1))
  }

  /* An object without a prototype; a Map if a key is not a str. */
  #map(n, levels) {
    const map = new Map()
    this.#count(n, levels)
    for (let i = 0; i < n; i++) {
      const key = this.next(levels - 1)
      if (map.has(key)) throw new RangeError('a repeated key')
      map.set(key, this.next(levels - 1))
    }
    if (![...map.keys()].every((key) => typeof key === 'string')) return map
    const object = Object.create(null)
    for (const [key, value] of map) object[key] = value
    return object
  }

  /* The next object, nested at most `levels` deep. */
  next(levels) {
    const first = this.#uint(1)
    if (first < 0x80) return first
    if (first < 0x90) return this.#map(first & 15, levels)
    if (first < 0xa0) return this.#list(first & 15, levels)
    if (first < 0xc0) return this.#text(first & 31)
    if (first >= 0xe0) return first - 256
    switch (first) {
      case 0xc0: return null
      case 0xc2: return false
      case 0xc3: return true
      case 0xc4: case 0xc5: case 0xc6: return this.#bytes(this.#uint(1 << (first - 0xc4)))
      case 0xc7: case 0xc8: case 0xc9: return this.#ext(this.#uint(1 << (first - 0xc7)))
      case 0xca: case 0xcb: return this.#float(first === 0xca ? 4 : 8)
      case 0xcc: case 0xcd: case 0xce: case 0xcf: return this.#uint(1 << (first - 0xcc))
      case 0xd0: case 0xd1: case 0xd2: case 0xd3: return this.#int(1 << (first - 0xd0))
      case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8: return this.#ext(1 << (first - 0xd4))
      case 0xd9: case 0xda: case 0xdb: return this.#text(this.#uint(1 << (first - 0xd9)))
      case 0xdc: case 0xdd: return this.#list(this.#uint(first === 0xdc ? 2 : 4), levels)
      case 0xde: case 0xdf: return this.#map(this.#uint(first === 0xde ? 2 : 4), levels)
    }
    throw new RangeError('a reserved byte')
  }
}

/* A BigInt as a number, if a number can represent it. */
function narrow(x) {
  const number = Number(x)
  return Number.isSafeInteger(number) ? number : x
}

/* The object in these bytes, nested at most `levels` deep. Throws a RangeError or TypeError if they are not exactly one
 * object. */
export function unpack(bytes, levels) {
  const unpacker = new Unpacker(bytes), found = unpacker.next(levels)
  if (unpacker.at < bytes.length) throw new RangeError('bytes follow the object')
  return found
}

/* True if x is a map whose keys are strs. */
export function isMap(x) {
  return x !== null && typeof x === 'object' &&
    !(Array.isArray(x) || x instanceof Map || x instanceof Float || x instanceof Ext || x instanceof Uint8Array)
}

/* The same value with numbers in place of Floats. */
export function withNumbers(x) {
  if (x instanceof Float) return x.value
  if (Array.isArray(x)) return x.map(withNumbers)
  if (x instanceof Map) return new Map([...x].map((pair) => pair.map(withNumbers)))
  if (isMap(x)) for (const key of Object.keys(x)) x[key] = withNumbers(x[key])
  return x
}

/* The head of an object of n items or bytes: `fix` is the first code of the heads of one byte and their number, `codes`
 * are those with a length of 1, 2 and 4 bytes. */
function head(n, fix, codes) {
  if (n < fix[1]) return Uint8Array.of(fix[0] + n)
  if (codes[0] && n < 0x100) return Uint8Array.of(codes[0], n)
  if (n < 0x10000) return Uint8Array.of(codes[1], n >> 8, n & 255)
  if (n >= 2 ** 32) throw new RangeError('an object of 4 GiB')
  return Uint8Array.of(codes[2], n >>> 24, n >> 16 & 255, n >> 8 & 255, n & 255)
}

export const binHead = (n) => head(n, [0, 0], [0xc4, 0xc5, 0xc6])

export function packInt(x) {
  const big = BigInt(x)
  if (big >= -32n && big < 128n) return Uint8Array.of(Number(BigInt.asUintN(8, big)))
  for (const [i, bits] of [8, 16, 32, 64].entries()) {
    if (big > 0n ? big >> BigInt(bits) : big < -(1n << BigInt(bits - 1))) continue
    const bytes = new Uint8Array(9)
    viewOf(bytes).setBigUint64(1, BigInt.asUintN(64, big))
    bytes[8 - bits / 8] = (big > 0n ? 0xcc : 0xd0) + i
    return bytes.subarray(8 - bits / 8)
  }
  throw new RangeError(`${x} does not fit into 64 bits`)
}

function packFloat(x) {
  const bytes = new Uint8Array(9)
  bytes[0] = 0xcb
  viewOf(bytes).setFloat64(1, x)
  return bytes
}

/* The bytes of an object: an integer number is an int. */
export function pack(x) {
  if (x === null) return Uint8Array.of(0xc0)
  if (typeof x === 'boolean') return Uint8Array.of(x ? 0xc3 : 0xc2)
  if (typeof x === 'bigint' || (Number.isSafeInteger(x) && !Object.is(x, -0))) return packInt(x)
  if (typeof x === 'number') return packFloat(x)
  if (typeof x === 'string') {
    const text = new TextEncoder().encode(x)
    return concatenate([head(text.length, [0xa0, 32], [0xd9, 0xda, 0xdb]), text])
  }
  if (x instanceof Uint8Array) return concatenate([binHead(x.length), x])
  if (x instanceof Ext)
    return concatenate([head(x.data.length, [0, 0], [0xc7, 0xc8, 0xc9]), Uint8Array.of(x.type & 255), x.data])
  if (Array.isArray(x)) return concatenate([head(x.length, [0x90, 16], [0, 0xdc, 0xdd]), ...x.map(pack)])
  const pairs = (x instanceof Map ? [...x] : Object.entries(x)).filter(([, value]) => value !== undefined)
  return concatenate([head(pairs.length, [0x80, 16], [0, 0xde, 0xdf]), ...pairs.flat().map(pack)])
}
