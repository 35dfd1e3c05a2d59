#!/usr/bin/env node
/* clip-outliers.mjs: clip the elements of each vector to a quantile of their magnitudes
 *
 *     q = the Q quantile of |x|, over one vector of one tensor
 *     x <- max(-q, min(q, x))
 *
 *     tv-extract base math code | node clip-outliers.mjs --quantile=0.9995 | combine | pack --base base merged */
import { parseArgs } from 'node:util'
import { transform } from './tvstream.mjs'

function usage(sentence) {
  console.error(`clip-outliers.mjs: ${sentence}\nUsage: clip-outliers.mjs [--quantile=Q]    (default 0.999)`)
  process.exit(2)
}

function readOptions() {
  try {
    return parseArgs({ options: { quantile: { type: 'string', default: '0.999' } } }).values
  } catch (e) {
    return usage(e.message)
  }
}

const quantile = Number(readOptions().quantile)
if (!(quantile > 0 && quantile <= 1)) usage('--quantile must be in (0, 1]')

/* The quantile of |x|, interpolated between the two nearest elements. */
function limit(x) {
  const sizes = x.map(Math.abs).sort()
  const at = quantile * (sizes.length - 1), below = Math.floor(at)
  const above = Math.min(below + 1, sizes.length - 1)
  return sizes[below] + (sizes[above] - sizes[below]) * (at - below)
}

function clip(tensor, vectors) {
  return vectors.map((x) => {
    const q = limit(x)
    return x.map((value) => Math.max(-q, Math.min(q, value)))
  })
}

await transform(clip, { scope: 'tensor', args: [`--quantile=${quantile}`], kinds: ['weights', 'task-vectors'] })
