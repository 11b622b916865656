import { describe, expect, test } from 'vitest'
import { Capture, MOST_PRINTED, withoutEcho } from '../../src/console/capture.ts'

describe('a capture', () => {
  test('of nothing expected is all of it, and never matched', () => {
    const capture = new Capture('')
    capture.push('a\n')
    capture.push('b')
    expect(capture).toMatchObject({ matched: false, text: 'a\nb', before: 'a\nb' })
  })

  test('ends with the match, and what comes later is not in it', () => {
    const capture = new Capture(/up|down/)
    for (const piece of ['link ', 'd', 'ow', 'n, then up', ' more']) capture.push(piece)
    expect(capture).toMatchObject({ matched: true, text: 'link down', before: 'link ' })
  })

  test('is everything while there is no match', () => {
    const capture = new Capture('x')
    capture.push('abc')
    expect(capture).toMatchObject({ matched: false, text: 'abc', before: 'abc' })
  })

  test('of a match at the very beginning has nothing before it', () => {
    const capture = new Capture('> ')
    capture.push('> more')
    expect(capture).toMatchObject({ matched: true, text: '> ', before: '' })
  })

  test.each([
    ['16 characters', 'y\n'.repeat(8), 300_000],
    ['64K', 'y\n'.repeat(2 ** 15), 100],
  ])('of many pieces of %s is all of it', (_, piece, count) => {
    const capture = new Capture('end')
    for (let i = 0; i < count; i++) capture.push(piece)
    capture.push('end')
    expect(capture.before.length).toBe(piece.length * count)
    expect(capture.before === piece.repeat(count)).toBe(true)
  })

  test.each([
    ['16 characters', 'y\n'.repeat(8)],
    ['64K', 'y\n'.repeat(2 ** 15)],
  ])('of more than is kept, in pieces of %s, says so and keeps the end', (_, piece) => {
    let over = 0
    const capture = new Capture('never', { onOver: () => over++ })
    for (let i = 0; i <= MOST_PRINTED / piece.length; i++) capture.push(piece)
    for (let i = 0; i < 2 * 2 ** 20; i += piece.length) capture.push(piece)
    expect(over).toBeGreaterThan(0)
    expect(capture.printed.length).toBeLessThan(4 * 2 ** 20)
    expect(capture.printed.endsWith('y\ny\n')).toBe(true)
    capture.clear()
    over = 0
    capture.push(piece)
    expect({ over, printed: capture.printed }).toEqual({ over: 0, printed: piece })
  })

  test('that is cleared has forgotten a match, and half of one', () => {
    const capture = new Capture('ab')
    capture.push('xab')
    capture.clear()
    expect(capture).toMatchObject({ matched: false, text: '' })
    capture.push('a')
    capture.clear()
    capture.push('b')
    expect(capture.matched).toBe(false)
    capture.push('ab')
    expect(capture).toMatchObject({ matched: true, text: 'bab', before: 'b' })
  })

  test.each([...'link down; port 7'])('is the same however it is cut: at %j', (at) => {
    const text = 'link down; port 7'
    const i = text.indexOf(at)
    const capture = new Capture(/port \d/)
    capture.push(text.slice(0, i))
    capture.push(text.slice(i))
    expect(capture).toMatchObject({ matched: true, before: 'link down; ', text })
  })
})

describe('the echo of a command', () => {
  test('is neither output nor a match, however it is cut', () => {
    const text = 'stop port 0\nport 0 will stop\n> '
    for (let at = 0; at <= text.length; at++) {
      const capture = new Capture('stop', { echo: 'stop port 0\n' })
      capture.push(text.slice(0, at))
      expect(capture.matched, `cut at ${at}`).toBe(at >= 'stop port 0\nport 0 will stop'.length)
      capture.push(text.slice(at))
      expect(capture).toMatchObject({ matched: true, text: 'port 0 will stop' })
    }
  })

  test.each([
    ['that is none', 'stopped\n', 'stopped\n'],
    ['that is cut short', 'stop port\n', 'stop port\n'],
    ['that comes twice', 'stop port 0\nstop port 0\n', 'stop port 0\n'],
    ['that comes later', 'x\nstop port 0\n', 'x\nstop port 0\n'],
  ])('%s is output', (_, text, wanted) => {
    const capture = new Capture('', { echo: 'stop port 0\n' })
    for (const character of text) capture.push(character)
    expect(capture.text).toBe(wanted)
  })
})

test.each([
  ['show port\nup\n', 'show port', 'up\n'],
  ['up\n', 'show port', 'up\n'],
  ['show port', 'show port', 'show port'],
  ['show portx\n', 'show port', 'show portx\n'],
  ['\nx', '', 'x'],
])('%j without the echo of %j is %j', (output, command, wanted) => {
  expect(withoutEcho(output, command)).toBe(wanted)
})
