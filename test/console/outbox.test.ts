import { expect, test } from 'vitest'
import { Outbox } from '../../src/console/outbox.ts'
import { kept } from '../../src/console/stream.ts'

test('what is written while it is kept back comes later, behind what is first', () => {
  const written: string[] = []
  const outbox = new Outbox<string>((data) => void written.push(data))
  outbox.write('a')
  outbox.hold()
  outbox.write('b')
  outbox.hold() // again changes nothing
  outbox.write('c')
  expect(written).toEqual(['a'])
  outbox.release('first', 'second')
  expect(written).toEqual(['a', 'first', 'second', 'b', 'c'])
  outbox.write('d')
  outbox.release()
  expect(written.at(-1)).toBe('d')
  expect(written).toHaveLength(6)
})

test('what was kept back for one stream goes to the other', () => {
  const [here, there]: string[][] = [[], []]
  const outbox = new Outbox<string>((data) => void here?.push(data))
  outbox.write('a')
  outbox.hold()
  outbox.write('b')
  outbox.moveTo((data) => void there?.push(data))
  outbox.release('unread')
  expect([here, there]).toEqual([['a'], ['unread', 'b']])
})

test('what comes before somebody listens is heard, in order, and only once', () => {
  let say = (_: Uint8Array) => {}
  const typed: unknown[] = []
  const stream = kept({
    onData: (listener) => {
      say = listener
    },
    write: (data) => void typed.push(data),
  })
  say(Buffer.from('a'))
  say(Buffer.from('b'))
  let heard = ''
  stream.onData((data) => {
    heard += Buffer.from(data)
  })
  expect(heard).toBe('ab')
  say(Buffer.from('c'))
  expect(heard).toBe('abc')
  stream.write('x')
  expect(typed).toEqual(['x'])
})
