import { describe, expect, test } from 'vitest'
import { Hearing } from '../../../src/vm/network/reachability.ts'

const nobody = () => false
const anybody = () => true

/** @param heard pairs: the first has heard the second */
function hearing(together: number[][], heard: readonly (readonly [number, number])[]) {
  const result = new Hearing(together)
  for (const [at, from] of heard) result.note(at, from)
  return result
}

/** Each hears all others. */
const all = (...ids: number[]) =>
  ids.flatMap((a) => ids.filter((b) => b !== a).map((b) => [a, b] as const))

describe('who heard whom', () => {
  test('has a direction', () => {
    const one = hearing([[0], [1]], [[0, 1]])
    expect([one.hears(0, 1), one.hears(1, 0), one.hears(0, 0)]).toEqual([true, false, false])
  })

  test('of a port that takes no part is not kept', () => {
    const one = hearing([[0]], [[7, 0]])
    expect(one.hears(7, 0)).toBe(false)
  })
})

describe('a picture is whole', () => {
  test.each([
    ['a pair', [[0], [1]], all(0, 1)],
    ['two segments', [[0], [1], [2], [3], [4]], [...all(0, 1), ...all(2, 3, 4)]],
    ['a pair, one of which hears itself', [[0], [1]], [...all(0, 1), [0, 0] as const]],
    [
      'links whose ports all hear each other',
      [
        [0, 1],
        [2, 3, 4],
      ],
      [...all(0, 1), ...all(2, 3, 4)],
    ],
  ])('%s', (_, together, heard) => {
    expect(hearing(together, heard).isWhole(nobody)).toBe(true)
  })

  test('with ports that may be alone', () => {
    expect(hearing([[0], [1], [2]], all(0, 1)).isWhole((id) => id === 2)).toBe(true)
  })
})

describe('a picture is not whole', () => {
  test.each([
    ['nothing heard', [[0], [1]], []],
    ['one way only', [[0], [1]], [[0, 1] as const]],
    ['a port that nobody hears', [[0], [1], [2]], all(0, 1)],
    ['a third that only one of two hears', [[0], [1], [2]], [...all(0, 1), ...all(1, 2)]],
    [
      'a ring of one-way wires',
      [[0], [1], [2]],
      [[1, 0] as const, [2, 1] as const, [0, 2] as const],
    ],
  ])('%s', (_, together, heard) => {
    expect(hearing(together, heard).isWhole(nobody)).toBe(false)
  })

  test('where two on a link do not hear each other, though each may be alone', () => {
    expect(hearing([[0, 1]], []).isWhole(anybody)).toBe(false)
    expect(hearing([[0, 1]], [[0, 1]]).isWhole(anybody)).toBe(false)
    expect(hearing([[0, 1, 2]], all(0, 1)).isWhole(anybody)).toBe(false)
  })
})
