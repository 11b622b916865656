import { expect, test } from 'vitest'
import { AbortController, AbortSignal, anySignal } from '../src/abort.ts'

test('anySignal: none of none, the one of one, any of several', () => {
  const [a, b] = [new AbortController(), new AbortController()]
  expect(anySignal()).toBeUndefined()
  expect(anySignal(undefined, a.signal)).toBe(a.signal)
  const both = anySignal(a.signal, undefined, b.signal)
  b.abort('b')
  expect(both?.reason).toBe('b')
})

/** A signal of a test environment, which is none for Node. */
function foreign() {
  const listeners: (() => void)[] = []
  const signal = {
    aborted: false,
    reason: undefined as unknown,
    addEventListener: (_: string, listener: () => void) => void listeners.push(listener),
    removeEventListener: () => {},
  }
  const abort = (reason: unknown) => {
    Object.assign(signal, { aborted: true, reason })
    for (const listener of listeners) listener()
  }
  return { signal: signal as unknown as AbortSignal, abort }
}

test('a signal that is not Node’s own counts among others, with its reason', () => {
  const { signal, abort } = foreign()
  const any = anySignal(new AbortController().signal, signal)
  expect(any).toBeInstanceOf(AbortSignal)
  expect(any.aborted).toBe(false)
  abort('test is over')
  expect(any).toMatchObject({ aborted: true, reason: 'test is over' })
})

test('a signal that is not Node’s own and was aborted before is aborted', () => {
  const { signal, abort } = foreign()
  abort('before')
  expect(anySignal(signal)).toMatchObject({ aborted: true, reason: 'before' })
})

test('the classes are Node’s own, whatever is in the global scope', () => {
  expect(new AbortController().signal).toBeInstanceOf(AbortSignal)
  expect(AbortSignal).toBe(globalThis.AbortSignal) // tests run in the environment `node`
})
