#!/usr/bin/env node
/* stream-json.mjs: print saved streams as JSON, one line each
 *
 *     node stream-json.mjs deltas.tvs
 *
 * The line is the meaning of the stream (share/vectors/README.md), or {"error": "SENTENCE"} if the stream is
 * broken; the exit status is then 1. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { DTYPES, Ext, FLOATS, Reader, StageFailed, StreamError, decode, spans } from './tvstream.mjs'

const PAYLOAD_MAX = 256 // bytes of a vector that are printed

const hex = (bytes) => Buffer.from(bytes).toString('hex')

/* JSON of an object of a record. JSON.stringify would print -0 as 0. */
function json(x) {
  if (x instanceof Uint8Array) return json({ $bin: hex(x) })
  if (x instanceof Ext) return json({ $ext: [x.type, hex(x.data)] })
  if (typeof x === 'bigint') return json({ $int: String(x) })
  if (Object.is(x, -0)) return '-0.0'
  if (x instanceof Map) return json({ $map: [...x] })
  if (Array.isArray(x)) return `[${x.map(json).join(', ')}]`
  if (x === null || typeof x !== 'object') return JSON.stringify(x)
  return `{${Object.keys(x).map((key) => `${JSON.stringify(key)}: ${json(x[key])}`).join(', ')}}`
}

/* The elements as numbers; those that are not finite as their bits. */
function numbers(dtype, bytes) {
  const size = DTYPES[dtype] / 8
  return Array.from(decode(dtype, bytes), (x, i) => {
    if (typeof x === 'bigint') return Number.isSafeInteger(Number(x)) ? Number(x) : x
    return Number.isFinite(x) ? x : { $bits: hex(new Uint8Array(bytes.subarray(i * size, (i + 1) * size)).reverse()) }
  })
}

function vector(dtype, bytes) {
  if (bytes.length > PAYLOAD_MAX)
    return { bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
  const found = { bytes: bytes.length, payload: hex(bytes) }
  return FLOATS.includes(dtype) || /^[IU]/.test(dtype) ? { ...found, values: numbers(dtype, bytes) } : found
}

async function meaning(path) {
  const reader = await Reader.open(createReadStream(path), path), tensors = []
  for await (const { tensor, blocks } of reader) {
    const payload = tensor.vectors.map(() => [])
    for await (const block of blocks) block.forEach((bytes, k) => payload[k].push(bytes))
    tensors.push({
      header: tensor, blocks: [...spans(tensor)].map(({ n }) => n),
      vectors: tensor.vectors.map((v, k) => vector(v.dtype, Buffer.concat(payload[k]))),
    })
  }
  return { header: reader.header, tensors, end: reader.end }
}

for (const path of process.argv.slice(2)) {
  try {
    console.log(json(await meaning(path)))
  } catch (e) {
    if (!(e instanceof StreamError) && !e.syscall) throw e
    console.log(json({ error: e instanceof StageFailed ? `${e.stage}: ${e.sentence}` : e.message }))
    process.exitCode = 1
  }
}
