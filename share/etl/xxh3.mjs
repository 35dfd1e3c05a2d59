/* XXH3 with 64 bits and seed 0 (https://xxhash.com): the hash of tensor streams. The long loop computes with halves
 * of 32 bits, because arithmetic with BigInt would take many times as long. */

const viewOf = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

const SECRET = Uint8Array.from(
  ('b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221' +
   'b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8' +
   'a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb' +
   '170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e'
  ).match(/../g), (byte) => parseInt(byte, 16))
const SECRET_VIEW = viewOf(SECRET)
const P32_1 = 0x9e3779b1
const [P64_1, P64_2, P64_3, P64_4, P64_5] = [
  0x9e3779b185ebca87n, 0xc2b2ae3d27d4eb4fn, 0x165667b19e3779f9n, 0x85ebca77c2b2ae63n, 0x27d4eb2f165667c5n]
const STRIPE = 64
const STRIPES = (SECRET.length - STRIPE) / 8 // after which the accumulators are scrambled
const SHORT = 240 // up to this many bytes the hash has other formulas

const wrap = (x) => BigInt.asUintN(64, x)
const secret64 = (at) => SECRET_VIEW.getBigUint64(at, true)
const secret32 = (at) => BigInt(SECRET_VIEW.getUint32(at, true))
const rotate = (x, bits) => wrap(x << bits) | (x >> (64n - bits))

function swapBytes(x) {
  const view = new DataView(new ArrayBuffer(8))
  view.setBigUint64(0, x)
  return view.getBigUint64(0, true)
}

/* The exclusive or of the halves of the 128-bit product. */
function fold(a, b) {
  const product = a * b
  return wrap(product) ^ (product >> 64n)
}

function avalanche(h) {
  h = wrap((h ^ (h >> 37n)) * 0x165667919e3779f9n)
  return h ^ (h >> 32n)
}

function avalanche64(h) {
  h = wrap((h ^ (h >> 33n)) * P64_2)
  h = wrap((h ^ (h >> 29n)) * P64_3)
  return h ^ (h >> 32n)
}

function mix16(view, at, secret) {
  return fold(view.getBigUint64(at, true) ^ secret64(secret), view.getBigUint64(at + 8, true) ^ secret64(secret + 8))
}

/* The hash of at most 16 bytes. */
function hashTiny(view) {
  const n = view.byteLength
  if (n > 8) {
    const low = view.getBigUint64(0, true) ^ secret64(24) ^ secret64(32)
    const high = view.getBigUint64(n - 8, true) ^ secret64(40) ^ secret64(48)
    return avalanche(wrap(BigInt(n) + swapBytes(low) + high + fold(low, high)))
  }
  if (n >= 4) {
    const both = BigInt(view.getUint32(n - 4, true)) + (BigInt(view.getUint32(0, true)) << 32n)
    let h = both ^ secret64(8) ^ secret64(16)
    h ^= rotate(h, 49n) ^ rotate(h, 24n)
    h = wrap(h * 0x9fb21c651e98df25n)
    h = wrap((h ^ ((h >> 35n) + BigInt(n))) * 0x9fb21c651e98df25n)
    return h ^ (h >> 28n)
  }
  if (n > 0) {
    const bytes = (view.getUint8(0) << 16 | view.getUint8(n >> 1) << 24 | view.getUint8(n - 1) | n << 8) >>> 0
    return avalanche64(BigInt(bytes) ^ secret32(0) ^ secret32(4))
  }
  return avalanche64(secret64(56) ^ secret64(64))
}

/* The hash of at most SHORT bytes. */
function hashShort(bytes) {
  const view = viewOf(bytes), n = bytes.length
  if (n <= 16) return hashTiny(view)
  let sum = BigInt(n) * P64_1
  if (n <= 128) {
    for (let i = (n - 1) >> 5; i >= 0; i--) // pairs from both ends
      sum += mix16(view, 16 * i, 32 * i) + mix16(view, n - 16 * (i + 1), 32 * i + 16)
    return avalanche(wrap(sum))
  }
  for (let i = 0; i < 8; i++) sum += mix16(view, 16 * i, 16 * i)
  sum = avalanche(wrap(sum))
  for (let i = 8; i < n >> 4; i++) sum += mix16(view, 16 * i, 16 * (i - 8) + 3)
  return avalanche(wrap(sum + mix16(view, n - 16, 136 - 17)))
}

/* The upper 32 bits of the product of two unsigned ints of 32 bits; Math.imul gives the lower ones. */
function multiplyHigh(a, b) {
  const a0 = a & 0xffff, a1 = a >>> 16, b0 = b & 0xffff, b1 = b >>> 16
  const middle = a1 * b0 + ((a0 * b0) >>> 16)
  return a1 * b1 + (middle / 65536 | 0) + ((a0 * b1 + (middle & 0xffff)) / 65536 | 0)
}

export class Xxh3 {
  constructor() {
    this.size = 0
    this.kept = new Uint8Array(SHORT + STRIPE)
    this.start = this.filled = 0 // kept[start .. filled) is not consumed yet; the 64 bytes before it may be needed
    this.stripe = 0 // of the block of STRIPES stripes
    this.low = Uint32Array.of(0xc2b2ae3d, 0x85ebca87, 0x27d4eb4f, 0x9e3779f9, 0xc2b2ae63, 0x85ebca77, 0x165667c5, P32_1)
    this.high = Uint32Array.of(0, 0x9e3779b1, 0xc2b2ae3d, 0x165667b1, 0x85ebca77, 0, 0x27d4eb2f, 0)
    this.long = false
  }

  update(bytes) {
    this.size += bytes.length
    if (!this.long && this.filled + bytes.length <= SHORT) {
      this.kept.set(bytes, this.filled)
      this.filled += bytes.length
      return
    }
    this.long = true
    for (let at = 0; at < bytes.length;) at += this.#add(bytes, at)
  }

  /* Consumes or keeps some of the bytes from `at` on; returns how many. A stripe is consumed only when a byte follows
   * it, because the last stripe is different. */
  #add(bytes, at) {
    const whole = Math.floor((this.filled - this.start) / STRIPE)
    this.#consume(viewOf(this.kept), this.start, whole)
    this.start += whole * STRIPE
    const rest = this.filled - this.start
    const stripes = Math.floor((bytes.length - at - 1) / STRIPE)
    if (rest === 0 && stripes > 0) {
      this.#consume(viewOf(bytes), at, stripes)
      this.kept.set(bytes.subarray(at + (stripes - 1) * STRIPE, at + stripes * STRIPE))
      this.start = this.filled = STRIPE
      return stripes * STRIPE
    }
    const unneeded = Math.max(0, this.start - STRIPE), n = Math.min(bytes.length - at, STRIPE - rest)
    this.kept.copyWithin(0, unneeded, this.filled)
    this.start -= unneeded
    this.filled -= unneeded
    this.kept.set(bytes.subarray(at, at + n), this.filled)
    this.filled += n
    return n
  }

  #consume(view, at, stripes) {
    for (; stripes > 0; stripes--, at += STRIPE) {
      accumulate(this.low, this.high, view, at, 8 * this.stripe)
      if (++this.stripe === STRIPES) {
        scramble(this.low, this.high)
        this.stripe = 0
      }
    }
  }

  /* The hash as a BigInt. */
  value() {
    if (!this.long) return hashShort(this.kept.subarray(0, this.filled))
    const low = this.low.slice(), high = this.high.slice()
    accumulate(low, high, viewOf(this.kept), this.filled - STRIPE, SECRET.length - STRIPE - 7)
    const lane = (i) => BigInt(high[i]) << 32n | BigInt(low[i])
    let sum = BigInt(this.size) * P64_1
    for (let i = 0; i < 8; i += 2) sum += fold(lane(i) ^ secret64(11 + 8 * i), lane(i + 1) ^ secret64(19 + 8 * i))
    return avalanche(wrap(sum))
  }

  /* The hash as a stream contains it. */
  digest() {
    const bytes = new Uint8Array(8)
    viewOf(bytes).setBigUint64(0, this.value())
    return bytes
  }
}

/* Adds a stripe of 64 bytes to the accumulators, whose halves are low and high. */
function accumulate(low, high, view, at, secret) {
  for (let i = 0; i < 8; i++) {
    const x0 = view.getUint32(at + 8 * i, true), x1 = view.getUint32(at + 8 * i + 4, true)
    const k0 = (x0 ^ SECRET_VIEW.getUint32(secret + 8 * i, true)) >>> 0
    const k1 = (x1 ^ SECRET_VIEW.getUint32(secret + 8 * i + 4, true)) >>> 0
    const sum = low[i ^ 1] + x0
    high[i ^ 1] += x1 + (sum > 0xffffffff ? 1 : 0)
    low[i ^ 1] = sum
    const product = low[i] + (Math.imul(k0, k1) >>> 0)
    high[i] += multiplyHigh(k0, k1) + (product > 0xffffffff ? 1 : 0)
    low[i] = product
  }
}

function scramble(low, high) {
  for (let i = 0; i < 8; i++) {
    const a = (low[i] ^ high[i] >>> 15 ^ SECRET_VIEW.getUint32(128 + 8 * i, true)) >>> 0
    const b = (high[i] ^ SECRET_VIEW.getUint32(132 + 8 * i, true)) >>> 0
    low[i] = Math.imul(a, P32_1)
    high[i] = multiplyHigh(a, P32_1) + Math.imul(b, P32_1)
  }
}
