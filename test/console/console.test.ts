import { describe, expect, test } from 'vitest'
import { Console } from '../../src/console/console.ts'
import type { Mark } from '../../src/console/marks.ts'
import { CommandTimeoutError, UsageError } from '../../src/errors.ts'
import { Lifeline } from '../../src/lifeline.ts'
import { fedStream } from '../support/fed-stream.ts'
import { growth, NOISE } from '../support/growth.ts'
import { withScope } from '../support/with-scope.ts'

function makeConsole() {
  const { stream, typed, feed } = fedStream()
  const life = new Lifeline()
  return { console: new Console(stream, { life, vm: 'vm0', dut: 'dut0' }), life, typed, feed }
}

describe('what was printed', () => {
  test('is remembered as text, without escapes and marks', () => {
    const { console, feed } = makeConsole()
    console.marks.await('5ec1')
    feed('\x1b[1mboot\x1b[0m\r\n\x1e5ec1=:0\x1e\nlogin: ')
    expect(console.text).toBe('boot\nlogin: ')
  })

  test('has a tail of lines', () => {
    const { console, feed } = makeConsole()
    expect(console.tail()).toBe('')
    feed(Array.from({ length: 30 }, (_, i) => `line ${i}\n`).join(''))
    expect(console.tail(2)).toBe('line 28\nline 29')
    expect(console.tail().split('\n')).toHaveLength(20)
  })

  test('is remembered up to a limit', () => {
    const { console, feed } = makeConsole()
    for (let i = 0; i < 50; i++) feed(`${String(i).padStart(99_999)}\n`)
    expect(console.text.length).toBeGreaterThanOrEqual(1 << 20)
    expect(console.text.length).toBeLessThanOrEqual(2 << 20)
    expect(console.tail(1).trim()).toBe('49')
  })

  test('is told to listeners in order, until they leave', () => {
    const { console, feed } = makeConsole()
    const heard: (string | Mark)[] = []
    const leave = console.subscribe({
      text: (text) => heard.push(text),
      mark: (mark) => heard.push(mark),
    })
    console.marks.await('5ec1')
    feed('a\x1e5ec1+\x1eb')
    leave()
    feed('c')
    expect(heard).toEqual(['a', { kind: 'begin', at: 1 }, 'b'])
  })

  test('a character that two reads share is whole', () => {
    const { console, feed } = makeConsole()
    const bytes = Buffer.from('漢🐧')
    for (const byte of bytes) feed(Uint8Array.of(byte))
    expect(console.text).toBe('漢🐧')
  })
})

describe('expect', () => {
  test('gives the text up to and including the match, then goes on behind it', async () => {
    const { console, feed } = makeConsole()
    feed('user: root pass')
    expect(await console.expect('user: ')).toBe('user: ')
    const next = console.expect(/p\w+: /)
    feed('word: ')
    feed('x')
    expect(await next).toBe('root password: ')
    expect(await console.expect('x')).toBe('x')
  })

  test('does not look at what was skipped', async () => {
    const { console, feed } = makeConsole()
    feed('old prompt> ')
    console.skip()
    const waiting = console.expect('prompt> ', '5s')
    feed('new prompt> ')
    expect(await waiting).toBe('new prompt> ')
  })

  test('of what does not come is an error that says what, where and what came', async () => {
    const { console, feed } = makeConsole()
    feed('booting\nstuck')
    const error = await console.expect('login: ', '20ms').catch((error) => error)
    expect(error).toBeInstanceOf(CommandTimeoutError)
    expect(error.message).toMatch(/^dut0\/vm0: "login: " was not printed \(after \d+ ms\)\n/)
    expect(error.message).toContain('| stuck')
  })

  test('after one that was not met looks at the same text again', async () => {
    const { console, feed } = makeConsole()
    feed('abc')
    await expect(console.expect('x', '5ms')).rejects.toThrow('was not printed')
    expect(await console.expect('b')).toBe('ab')
  })

  test.each([5, '5', 'soon'])('takes no timeout of %j', async (timeout) => {
    await expect(makeConsole().console.expect('x', timeout)).rejects.toThrow(UsageError)
  })

  test('ends with the VM, an alarm, its own signal and its test', async () => {
    const { console, life } = makeConsole()
    const reason = new Error('enough')
    const stop = new AbortController()
    const byOwn = console.expect('x', '60s', { signal: stop.signal })
    const scope = new AbortController()
    const byTest = withScope(scope.signal, () => console.expect('x', '60s'))
    stop.abort(reason)
    scope.abort(reason)
    await expect(byOwn).rejects.toBe(reason)
    await expect(byTest).rejects.toBe(reason)
    const byAlarm = console.expect('x', '60s')
    life.alarm(reason)
    await expect(byAlarm).rejects.toBe(reason)
    const byEnd = console.expect('x', '60s')
    life.end(reason)
    await expect(byEnd).rejects.toBe(reason)
    await expect(console.expect('x', '60s')).rejects.toBe(reason)
  })

  test.each([250, 500])(
    'behind %d times 10,000 characters gives what is remembered, to the match',
    async (count) => {
      const { console, feed } = makeConsole()
      const waiting = console.expect('done> ', '30s')
      for (let i = 1; i <= count; i++) feed(`${String(i).padStart(9999, '.')}\n`)
      feed('done> and more')
      const text = await waiting
      expect(text.endsWith(`${count}\ndone> `)).toBe(true)
      expect(text.length).toBeGreaterThanOrEqual((1 << 20) - 100)
      expect(console.text.startsWith(text)).toBe(true)
      expect(await console.expect('more')).toBe('and more')
    },
  )

  test('of two at once gives both', async () => {
    const { console, feed } = makeConsole()
    const both = Promise.all([console.expect('a'), console.expect('ab')])
    feed('ab')
    expect(await both).toEqual(['a', 'ab'])
  })
})

describe('typing', () => {
  test('passes on what is typed as it is', () => {
    const { console, typed } = makeConsole()
    console.write('ls\n')
    console.write(Uint8Array.of(3))
    expect(typed).toEqual(['ls\n', '\x03'])
  })

  test('into something that is gone throws the cause', () => {
    const { console, life, typed } = makeConsole()
    life.end(new Error('QEMU was killed'))
    expect(() => console.write('ls\n')).toThrow('QEMU was killed')
    expect(typed).toEqual([])
  })
})

test('eight times as much text takes about eight times as long', () => {
  const line = Buffer.from(`${'0123456789'.repeat(10)}\r\n`.repeat(40))
  const work = (reads: number) => {
    const { console, feed } = makeConsole()
    void console.expect('never', '60s').catch(() => {})
    for (let n = 0; n < reads; n++) feed(line)
    console.life.end(new Error('over'))
  }
  expect(growth(work, { size: 320 })).toBeLessThan(NOISE) // 10 MB at the end
})
