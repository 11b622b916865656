import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { Pieces } from '../../src/console/pieces.ts'

test('all that was pushed is there, in its order', () => {
  const pieces = new Pieces()
  const all: string[] = []
  for (const [size, count] of [
    [1, 10_000],
    [16, 10_000],
    [2 ** 19, 5],
  ] as const) {
    for (let i = 0; i < count; i++) {
      const piece = String(i % 10).repeat(size)
      pieces.push(piece)
      all.push(piece)
    }
    expect(pieces.length).toBe(all.join('').length)
    expect(pieces.text === all.join('')).toBe(true)
  }
})

test('what is not kept is forgotten, and more can come', () => {
  const pieces = new Pieces()
  for (let i = 0; i < 10_000; i++) pieces.push(`${i} `)
  pieces.keep(10)
  expect(pieces).toMatchObject({ length: 10, text: '9998 9999 ' })
  pieces.push('x')
  expect(pieces).toMatchObject({ length: 11, text: '9998 9999 x' })
  pieces.keep(100)
  expect(pieces.text).toBe('9998 9999 x')
  pieces.clear()
  expect(pieces).toMatchObject({ length: 0, text: '' })
})

test('many small pieces take little more memory than their text', () => {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  const used = () => {
    gc()
    return process.memoryUsage().heapUsed
  }
  const pieces = new Pieces()
  const before = used()
  for (let i = 0; i < 2 ** 20; i++) pieces.push(i % 2 === 0 ? 'y\n' : '\ny')
  expect(pieces.length).toBe(2 ** 21)
  expect(used() - before).toBeLessThan(2 * 2 ** 21)
  expect(pieces.text.length).toBe(2 ** 21)
})
